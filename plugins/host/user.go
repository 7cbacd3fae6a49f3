package host

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// lookUpUser returns the credentials of a user by name or number, without groups
// but its own; nil where none is named or it is whom we run as.
func lookUpUser(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		if byNumber, err2 := user.LookupId(name); err2 == nil {
			u, err = byNumber, nil
		}
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	switch {
	case err1 != nil || err2 != nil:
		return nil, errors.Join(err1, err2)
	case int(uid) == os.Geteuid():
		return nil, nil
	case os.Geteuid() != 0:
		return nil, errors.New("only root can run drivers as another user: leave it unset")
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// letThrough lets other users pass to what is theirs in the run folder, without
// seeing what else is there.
func letThrough(dir string) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		info, err := os.Stat(up)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("it cannot reach the drivers' run folder %s: allow it with chmod o+x %s", dir, up)
		}
		if up == filepath.Dir(up) {
			return nil
		}
	}
}

// runAs has the process run as another user, who gets the folder of its socket.
// The kernel drops all capabilities with root's number.
func (p *process) runAs(as *syscall.Credential) error {
	if as == nil {
		return nil
	}
	if err := os.Chown(p.socketDir, int(as.Uid), int(as.Gid)); err != nil {
		return fmt.Errorf("driver %s: give it the folder of its socket: %w", p.name, err)
	}
	p.cmd.SysProcAttr.Credential = as
	return nil
}
