package configure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKeys removes the host keys that came with the image, which others have
// too, and makes new ones: Ed25519, and RSA or ECDSA where sshd_config names
// them. Images with Dropbear convert from OpenSSH's form themselves, see
// images/DESIGN.md.
func (im *image) hostKeys() error {
	for _, dir := range []string{"etc/ssh", "etc/dropbear"} {
		for _, n := range im.Names(dir) {
			if strings.HasPrefix(n, "ssh_host_") && strings.Contains(n, "_key") || strings.HasPrefix(n, "dropbear_") && strings.HasSuffix(n, "_host_key") {
				if err := im.Remove(dir + "/" + n); err != nil {
					return err
				}
			}
		}
	}
	config, _ := im.ReadFile("etc/ssh/sshd_config")
	for _, kind := range wantedKeys(string(config)) {
		if err := im.hostKey(kind); err != nil {
			return fmt.Errorf("%s key: %w", kind, err)
		}
	}
	return nil
}

// wantedKeys are the kinds of key that a server needs.
func wantedKeys(config string) []string {
	kinds := []string{"ed25519"}
	for _, l := range strings.Split(config, "\n") {
		f := strings.Fields(l)
		if len(f) != 2 || !strings.EqualFold(f[0], "HostKey") {
			continue
		}
		for _, k := range []string{"rsa", "ecdsa"} {
			if f[1] == "/etc/ssh/ssh_host_"+k+"_key" {
				kinds = append(kinds, k)
			}
		}
	}
	return kinds
}

const rsaBits = 3072

func makeKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "rsa":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return k, err
}

func (im *image) hostKey(kind string) error {
	key, err := makeKey(kind)
	if err != nil {
		return err
	}
	private, public, err := encodeKey(key, "root@"+im.config.Hostname)
	if err != nil {
		return err
	}
	name := "etc/ssh/ssh_host_" + kind + "_key"
	if err := im.write(name, private, 0o600); err != nil {
		return err
	}
	im.result.HostKeys = append(im.result.HostKeys, strings.TrimSpace(public))
	return im.write(name+".pub", public, 0o644)
}

// encodeKey gives a key in OpenSSH's private form and as an authorized_keys line.
func encodeKey(key crypto.Signer, comment string) (private, public string, err error) {
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", "", err
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	return string(pem.EncodeToMemory(block)), line + " " + comment + "\n", nil
}
