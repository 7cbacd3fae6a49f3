// Package format is Gantry's image format: how the content of a disk, or the
// tar of a root file system, is cut into chunks, compressed, described and
// signed, so that any part of it can be fetched, checked and written by itself.
//
// An image is two files. The data file holds the chunks' compressed bytes one
// after another; the manifest says what each is, where it goes and what its
// digest is, and is signed. Runs of zeros are in neither. images/DESIGN.md is
// the specification and says why it is as it is.
//
// What always holds: a [Manifest] that [Parse] returned is consistent in itself
// and signed by the key that it names, and bytes that [Decoder.Decode] returned
// without an error are the bytes that the image's maker packed. Whether that key
// is to be trusted is the caller's question: [Manifest.SignedBy].
package format
