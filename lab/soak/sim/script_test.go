package sim

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadScript reads scripts as the boot server writes them.
func TestReadScript(t *testing.T) {
	const base = "http://10.77.0.1:8067/boot/script?mac=52-54-00-50-00-01"
	tests := map[string]struct {
		text string
		want script
	}{
		"agent": {"#!ipxe\necho Gantry: starting the netboot agent\nkernel /boot/vmlinuz initrd=initrd0 gantry.machine=m1 gantry.token=abc || goto failed\n" +
			"initrd --name initrd0 /boot/initrd.img || goto failed\nboot || goto failed\n:failed\necho no\n:again\nsleep 10\nchain --replace --autofree /boot/script || goto again\n",
			script{kernel: "http://10.77.0.1:8067/boot/vmlinuz", args: []string{"initrd=initrd0", "gantry.machine=m1", "gantry.token=abc"},
				initrds: []string{"http://10.77.0.1:8067/boot/initrd.img"}}},
		"disk": {"#!ipxe\necho Gantry: starting this machine's own disk\niseq ${platform} efi || goto bios\nexit 1\n:bios\nsanboot --no-describe --drive 0x80 ||\nexit 1\n",
			script{disk: true}},
		"wait": {"#!ipxe\necho Gantry: waiting: nothing to boot\n:again\nsleep 10\nchain --replace --autofree /boot/script || goto again\n", script{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readScript(tt.text, base)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(script{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := readScript("<html>", base); err == nil {
		t.Error("a page is taken for a script")
	}
}
