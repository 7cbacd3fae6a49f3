package configure

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gantry-pod/gantry/netboot/confine"
	"github.com/gantry-pod/gantry/netboot/job"
)

// Files of accounts and their modes; the group that may read shadow is "shadow"
// where there is one.
const (
	passwdFile  = "etc/passwd"
	shadowFile  = "etc/shadow"
	groupFile   = "etc/group"
	gshadowFile = "etc/gshadow"
	// lockedHash matches no password, and does not keep sshd from taking keys, as
	// "!" does.
	lockedHash = "*"
	firstUID   = 1000
	lastUID    = 59999
)

func (im *image) users() error {
	a, err := im.readAccounts()
	if err != nil {
		return err
	}
	for _, u := range im.config.Users {
		if err := a.ensure(u, im.shell()); err != nil {
			return err
		}
	}
	if err := im.writeAccounts(a); err != nil {
		return err
	}
	for _, u := range im.config.Users {
		if err := im.home(a, u); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	return nil
}

func (im *image) shell() string {
	if im.isFile("bin/bash") {
		return "/bin/bash"
	}
	return "/bin/sh"
}

// accounts are the four files, parsed into fields.
type accounts struct {
	passwd, shadow, group, gshadow table
}

func (im *image) readAccounts() (*accounts, error) {
	a := &accounts{}
	for name, t := range map[string]*table{passwdFile: &a.passwd, shadowFile: &a.shadow, groupFile: &a.group, gshadowFile: &a.gshadow} {
		b, err := im.ReadFile(name)
		if err != nil && !(name == gshadowFile && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		*t = parseTable(string(b))
	}
	return a, nil
}

func (im *image) writeAccounts(a *accounts) error {
	for _, f := range [...]struct {
		name string
		t    table
	}{{passwdFile, a.passwd}, {groupFile, a.group}, {shadowFile, a.shadow}, {gshadowFile, a.gshadow}} {
		st, err := im.Stat(f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no gshadow
		}
		if err != nil {
			return err
		}
		mode := st.Mode & 0o7777
		if err := im.WriteFile(f.name, []byte(f.t.String()), mode, confine.Owner{UID: int(st.Uid), GID: int(st.Gid)}); err != nil {
			return err
		}
	}
	return nil
}

// ensure makes the user or changes what is asked for of one that exists.
func (a *accounts) ensure(u job.User, shell string) error {
	hash := u.PasswordHash
	if hash == "" {
		hash = lockedHash
	}
	if a.passwd.find(u.Name) == nil {
		id, err := a.freeID()
		if err != nil {
			return err
		}
		n := strconv.Itoa(id)
		if g := a.group.find(u.Name); len(g) > 2 {
			a.passwd.set([]string{u.Name, "x", n, g[2], "", "/home/" + u.Name, shell})
		} else {
			a.group.set([]string{u.Name, "x", n, ""})
			if len(a.gshadow) > 0 {
				a.gshadow.set([]string{u.Name, "!", "", ""})
			}
			a.passwd.set([]string{u.Name, "x", n, n, "", "/home/" + u.Name, shell})
		}
	}
	if s := a.shadow.find(u.Name); len(s) > 1 {
		s[1] = hash
	} else {
		// The day of the last change is left out: 0 would force a new password.
		a.shadow.set([]string{u.Name, hash, "", "0", "99999", "7", "", "", ""})
	}
	if u.Sudo {
		a.join(u.Name, "sudo", "wheel")
	}
	return nil
}

// freeID is a number that neither a user nor a group has.
func (a *accounts) freeID() (int, error) {
	used := map[string]bool{}
	for _, t := range []table{a.passwd, a.group} {
		for _, f := range t {
			if len(f) > 2 {
				used[f[2]] = true
			}
		}
	}
	for id := firstUID; id <= lastUID; id++ {
		if !used[strconv.Itoa(id)] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("no user ID between %d and %d is free", firstUID, lastUID)
}

// join adds a user to the first of the groups that there is.
func (a *accounts) join(name string, groups ...string) {
	for _, g := range groups {
		f := a.group.find(g)
		if len(f) < 4 {
			continue
		}
		for _, t := range []table{a.group, a.gshadow} {
			if f := t.find(g); len(f) >= 4 && !slices.Contains(strings.Split(f[3], ","), name) {
				f[3] = strings.TrimPrefix(f[3]+","+name, ",")
			}
		}
		return
	}
}

// home makes the home folder, keys and sudo's permission.
func (im *image) home(a *accounts, u job.User) error {
	f := a.passwd.find(u.Name)
	if len(f) < 6 {
		return fmt.Errorf("its line in /%s has %d fields, not 7", passwdFile, len(f))
	}
	uid, err1 := strconv.Atoi(f[2])
	gid, err2 := strconv.Atoi(f[3])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	o := confine.Owner{UID: uid, GID: gid}
	home := f[5]
	if err := im.MkdirAll("home", 0o755, rootUser); err != nil {
		return err
	}
	fresh := !im.Exists(home)
	if err := im.MkdirAll(home, 0o750, o); err != nil {
		return err
	}
	if fresh {
		if err := im.skeleton(home, o); err != nil {
			return err
		}
	}
	if len(u.SSHKeys) > 0 {
		if err := im.MkdirAll(home+"/.ssh", 0o700, o); err != nil {
			return err
		}
		if err := im.WriteFile(home+"/.ssh/authorized_keys", []byte(strings.Join(u.SSHKeys, "\n")+"\n"), 0o600, o); err != nil {
			return err
		}
	}
	return im.sudo(u)
}

// skeleton copies the regular files of /etc/skel, as useradd does.
func (im *image) skeleton(home string, o confine.Owner) error {
	for _, n := range im.Names("etc/skel") {
		st, err := im.Stat("etc/skel/" + n)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		b, err := im.ReadFile("etc/skel/" + n)
		if err != nil {
			return err
		}
		if err := im.WriteFile(home+"/"+n, b, st.Mode&0o777, o); err != nil {
			return err
		}
	}
	return nil
}

func (im *image) sudo(u job.User) error {
	name := "etc/sudoers.d/gantry-" + u.Name
	if !u.Sudo || u.Name == "root" {
		return im.Remove(name)
	}
	if !im.Exists("etc/sudoers.d") {
		im.result.Notes = append(im.result.Notes, "user "+u.Name+" may use sudo, but the image has none")
		return nil
	}
	return im.WriteFile(name, []byte(u.Name+" ALL=(ALL:ALL) NOPASSWD:ALL\n"), 0o440, rootUser)
}
