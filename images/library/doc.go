// Package library keeps the images of one site: a directory of images in the
// format of images/format, signed with a key of its own, imported, listed,
// verified, served over HTTP and deleted.
//
// What always holds: an image that is listed is complete and synced, whatever
// crashed; a failed import leaves nothing behind; one name and version is one
// image, for ever, so whoever knows an image's digest knows its bytes.
//
// The directory, which one process at a time has open:
//
//	lock                     held while it is open
//	key                      ed25519 private key, PKCS #8 PEM, mode 0600
//	images/DIGEST/manifest   DIGEST is the manifest's, in hex
//	images/DIGEST/data
//	refs/NAME:VERSION        the digest; made after the image, removed before it
//	tmp/                     unfinished imports; emptied when it is opened
package library
