// Package write puts an image onto a disk of the machine that it runs on: it
// fetches the manifest and the chunks over HTTP, several ranges at a time,
// checks each chunk's digest before it is written, leaves zeros to the disk's
// own means, and can read back every chunk.
//
// What always holds: nothing is written before the manifest's digest and
// signature were checked; no byte that failed its digest is written or handed
// out; and a nil error of [Write] means that every byte of the image, zeros
// included, is on the disk and synced. The first and the last MiB, where
// partition tables are, are cleared first and written last, so a disk that was
// left half written does not start a half system.
//
// Errors of one job are or wrap a *job.Problem.
package write
