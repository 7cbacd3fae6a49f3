// Package recipe builds the images that come with Gantry, from Debian's
// packages: build.sh full|mini OUT.raw does the work, and this package's tests
// (build tag qemu) start what it built in real firmware. images/DESIGN.md says
// what a configurator finds in them.
package recipe
