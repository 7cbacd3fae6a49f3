package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/gantry-pod/gantry/appliance/deploy"
)

// deployFlags are where a deployment's specification comes from.
type deployFlags struct {
	file             string // with the whole specification
	flags            deploy.Spec
	keyFiles         []string
	userData, layout string // files
}

const deployExample = `  gantry machine deploy m1 --image debian-12 --hostname web1 --ssh-key ~/.ssh/id_ed25519.pub
  gantry machine deploy m1 --spec web1.yaml

  # web1.yaml: the keys are those of the API (/openapi.json)
  image: debian-12
  hostname: web1
  ssh_keys: ["ssh-ed25519 AAAA... me"]
  users:
    - {name: ops, password_hash: "$6$...", sudo: true}   # openssl passwd -6
  disk: {wwn: "0x5000c500a1b2c3d4"}                      # or serial, path, rotational
  nics:
    - {mac: "52:54:00:00:00:01", addresses: ["10.20.1.1/22"], gateway: 10.20.0.1}`

func newMachineDeployCmd(app *app) *cobra.Command {
	var f changeFlags
	var d deployFlags
	cmd := &cobra.Command{ValidArgsFunction: app.complete(machineNames), Use: "deploy MACHINE {--image IMAGE | --spec FILE}", Short: "Write an image to a machine, configure it and start it", Args: exactArgs(1),
		Example: deployExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := d.spec(cmd.Flags().Changed)
			if err != nil {
				return withCode(exitUsage, err)
			}
			return app.change(cmd.Context(), f, args[0], "deploy", spec)
		}}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&d.file, "spec", "", "file (YAML or JSON) with all of this and more: users, password hashes, NICs, disk hints; flags go before it")
	flags.StringVar(&d.flags.Image, "image", "", "image: NAME, which is its newest version, or NAME:VERSION")
	flags.StringVar(&d.flags.Hostname, "hostname", "", "host name; the machine's name if not given")
	flags.StringVar(&d.flags.User, "user", "", "user to make for the keys, with sudo; admin if not given")
	flags.StringArrayVar(&d.keyFiles, "ssh-key", nil, "public key: a file, or the key itself; repeat for more (default ~/.ssh/id_*.pub)")
	flags.StringVar(&d.userData, "user-data", "", "file with cloud-init user-data")
	flags.StringVar(&d.layout, "layout", "", "file (YAML) with partitions, for a root-file-system image")
	flags.StringVar(&d.flags.Disk.Serial, "disk-serial", "", "write to the disk with this serial number")
	flags.StringArrayVar(&d.flags.DNS, "dns", nil, "DNS server; the pod's if not given")
	flags.BoolVar(&d.flags.SkipReadBack, "skip-read-back", false, "do not read the disk back after writing")
	return cmd
}

// spec is what is asked for: the file's, with what the flags say instead. changed
// says whether a flag was given.
func (d deployFlags) spec(changed func(flag string) bool) (spec deploy.Spec, err error) {
	if d.file != "" {
		if err := readYAML(d.file, &spec); err != nil {
			return spec, fmt.Errorf("--spec %w", err)
		}
	}
	for flag, take := range map[string]func(){
		"image":          func() { spec.Image = d.flags.Image },
		"hostname":       func() { spec.Hostname = d.flags.Hostname },
		"user":           func() { spec.User = d.flags.User },
		"disk-serial":    func() { spec.Disk.Serial = d.flags.Disk.Serial },
		"dns":            func() { spec.DNS = d.flags.DNS },
		"skip-read-back": func() { spec.SkipReadBack = d.flags.SkipReadBack },
	} {
		if changed(flag) {
			take()
		}
	}
	if spec.Image == "" {
		return spec, errors.New("no image: give --image NAME, or a --spec FILE that names one; see: gantry image list")
	}
	if len(d.keyFiles) > 0 || len(spec.SSHKeys)+len(spec.Users) == 0 {
		if spec.SSHKeys, err = readKeys(d.keyFiles); err != nil {
			return spec, err
		}
	}
	if d.userData != "" {
		b, err := os.ReadFile(d.userData)
		if err != nil {
			return spec, err
		}
		spec.UserData = string(b)
	}
	if d.layout != "" {
		spec.Layout = nil
		if err := readYAML(d.layout, &spec.Layout); err != nil {
			return spec, fmt.Errorf("layout %w", err)
		}
	}
	return spec, nil
}

// readYAML decodes a YAML or JSON file with the API's keys. An unknown key is an
// error.
func readYAML(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, false)) // without the source: it may hold secrets
	}
	d := json.NewDecoder(bytes.NewReader(j))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readKeys reads public keys: each value is a key itself or a file with some. If
// there is none, it is the caller's own.
func readKeys(values []string) (keys []string, err error) {
	if len(values) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			values, _ = filepath.Glob(filepath.Join(home, ".ssh", "id_*.pub")) // the pattern is well formed
		}
		if len(values) == 0 {
			return nil, errors.New("no SSH key: give --ssh-key FILE, or nobody could log in")
		}
	}
	for _, value := range values {
		text := value
		if !isKey(value) {
			b, err := os.ReadFile(value)
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if strings.Contains(text, "PRIVATE KEY") {
			return nil, fmt.Errorf("%s is a private key; give the public one, %s.pub", value, value)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				keys = append(keys, line)
			}
		}
	}
	return keys, nil
}

// isKey says whether a value is a key and no file's name: a key type of sshd(8),
// and a space after it.
func isKey(value string) bool {
	kind, _, more := strings.Cut(strings.TrimSpace(value), " ")
	if !more {
		return false
	}
	for _, prefix := range []string{"ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"} {
		if strings.HasPrefix(kind, prefix) {
			return true
		}
	}
	return false
}
