package appliance

import (
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// place is a configuration with folders of the test's, and a socket whose path
// is short enough.
func place(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gantry")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := DefaultConfig()
	c.StateDir, c.RunDir, c.API.Socket = filepath.Join(dir, "state"), filepath.Join(dir, "run"), filepath.Join(dir, "api", "s")
	return c
}

// TestStateIsNobodyElses: the folder of the state is closed to others also if
// it was made open, as systemd does by default; those of sockets are not.
func TestStateIsNobodyElses(t *testing.T) {
	c := place(t)
	if err := os.Mkdir(c.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.makeDirs(); err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string]fs.FileMode{c.StateDir: 0o700, c.RunDir: 0o711, filepath.Dir(c.API.Socket): 0o711} {
			if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", dir, st.Mode(), err)
			}
		}
	}
}

// TestSocketGroup: the API's socket belongs to the group of the configuration,
// and nobody else can use it.
func TestSocketGroup(t *testing.T) {
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 54321 // root can give it to anybody
	}
	c := place(t)
	c.API.Group = strconv.Itoa(gid)
	if err := c.makeDirs(); err != nil {
		t.Fatal(err)
	}
	list, err := c.listenAPI(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer list[0].listener.Close()
	st, err := os.Stat(c.API.Socket)
	if err != nil || st.Mode().Perm() != 0o660 || int(st.Sys().(*syscall.Stat_t).Gid) != gid {
		t.Errorf("%v, %+v, %v", st.Mode(), st.Sys(), err)
	}
	c = place(t)
	c.API.Group = "no such group"
	if err := c.makeDirs(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.listenAPI(http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "group") {
		t.Errorf("a group of nowhere: %v", err)
	}
	if conn, err := net.Dial("unix", c.API.Socket); err == nil {
		conn.Close()
		t.Error("it listens all the same")
	}
}
