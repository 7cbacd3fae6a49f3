package appliance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeDirs makes the appliance's folders. That of its state is its alone,
// whoever made it: the store and the images in it are tenants' data. Those of
// its sockets can be passed through, as each socket says who may use it; one
// that is there is left as it is.
func (c *Config) makeDirs() error {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(c.StateDir, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{c.RunDir, filepath.Dir(c.API.Socket)} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			continue // what is wrong with it is said where it is used
		}
		if err := errors.Join(os.MkdirAll(dir, 0o711), os.Chmod(dir, 0o711)); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}
