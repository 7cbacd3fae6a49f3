package configure

import (
	"encoding/json"
	"strings"
)

const (
	seedDir    = "var/lib/cloud/seed/nocloud"
	cloudDropI = "etc/cloud/cloud.cfg.d/99-gantry.cfg"
)

// hasCloudInit says that the image runs cloud-init.
func (im *image) hasCloudInit() bool {
	return im.anyFile("usr/bin/cloud-init", "etc/cloud/cloud.cfg")
}

// cloudInit writes the NoCloud seed (cloud-init's documentation, "NoCloud") and
// the drop-in that keeps cloud-init off what was written here.
func (im *image) cloudInit() error {
	if !im.hasCloudInit() {
		return nil
	}
	c := im.config
	short, _, _ := strings.Cut(c.Hostname, ".")
	data := c.UserData
	if data == "" {
		data = "#cloud-config\n{}\n"
	}
	// JSON is YAML; quoting it is nobody's guess.
	meta, err := json.Marshal(map[string]string{"instance-id": c.InstanceID, "local-hostname": short})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"meta-data": string(meta) + "\n", "user-data": data} {
		if err := im.write(seedDir+"/"+name, text, 0o600); err != nil {
			return err
		}
	}
	drop := map[string]any{
		"datasource_list": []string{"NoCloud", "None"}, "preserve_hostname": true, "manage_etc_hosts": false,
		"ssh_deletekeys": false, "ssh_genkeytypes": []string{}, "users": []string{}, "disable_root": false,
	}
	if im.result.Network == "cloud-init" {
		n, err := json.MarshalIndent(networkV2(c), "", " ")
		if err != nil {
			return err
		}
		if err := im.write(seedDir+"/network-config", string(n)+"\n", 0o600); err != nil {
			return err
		}
	} else {
		drop["network"] = map[string]string{"config": "disabled"}
		if err := im.Remove(seedDir + "/network-config"); err != nil {
			return err
		}
	}
	d, err := json.MarshalIndent(drop, "", " ")
	if err != nil {
		return err
	}
	return im.write(cloudDropI, "# Written by Gantry: these things are set in their own files.\n"+string(d)+"\n", 0o644)
}
