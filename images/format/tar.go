package format

import "archive/tar"

// TarType reports whether a root file system's tar may have entries of this type:
// what the importer takes is what the agent unpacks. Archives of several volumes
// and the labels of tapes mean nothing on a disk.
func TarType(flag byte) bool {
	switch flag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, tar.TypeDir, tar.TypeSymlink, tar.TypeLink,
		tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return true
	}
	return false
}
