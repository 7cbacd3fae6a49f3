// Package importer turns the disk images and root file system archives that
// people have (raw, qcow2, tar; plain or compressed with gzip, zstd or xz) into
// a stream of bytes to pack, recognising them by their content, not their name.
//
// What it reads is hostile. It runs no other program, follows no reference from
// an image to another file, bounds what it allocates, and tells a file that
// ends too early from one that is whole.
package importer
