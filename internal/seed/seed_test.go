package seed

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var hostile = Options{
	InstanceID: "i-1", Hostname: "a\"\nruncmd: [reboot]",
	User: &User{Name: "agi", Sudo: true, Shell: "/bin/bash", AuthorizedKeys: []string{"ssh-ed25519 AAAA x\"\n- y: {"}},
}

func TestConfigIsYAMLAndKeepsValuesApart(t *testing.T) {
	data, err := Config(hostile)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		List       []string `yaml:"datasource_list"`
		Datasource map[string]struct {
			Metadata map[string]string
		}
		SSH    *bool `yaml:"ssh_deletekeys"`
		RunCmd any   `yaml:"runcmd"`
		System struct {
			User struct {
				Name string
				Sudo []string
			} `yaml:"default_user"`
		} `yaml:"system_info"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if got := strings.Join(doc.List, " "); got != "NoCloud VMware OVF None" {
		t.Errorf("datasource_list = %q", got)
	}
	if got := doc.Datasource["None"].Metadata["local-hostname"]; got != hostile.Hostname {
		t.Errorf("host name = %q", got)
	}
	if doc.RunCmd != nil {
		t.Error("a value became a key")
	}
	if doc.SSH == nil || *doc.SSH {
		t.Error("cloud-init would delete the host keys")
	}
	if doc.System.User.Name != "agi" || len(doc.System.User.Sudo) != 1 {
		t.Errorf("default user = %+v", doc.System.User)
	}
	// ds-identify reads the list with grep: it must stay on one line.
	if !strings.Contains(string(data), "\ndatasource_list: [NoCloud, VMware, OVF, None]\n") {
		t.Error("datasource_list is not on one line")
	}
}

func TestNoCloud(t *testing.T) {
	files, err := NoCloud(hostile)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		var doc map[string]any
		if err := yaml.Unmarshal(f.Data, &doc); err != nil {
			t.Errorf("%s: %v\n%s", f.Name, err, f.Data)
		}
		if _, ok := doc["runcmd"]; ok {
			t.Errorf("%s: a value became a key", f.Name)
		}
		if f.Name == "user-data" && !strings.HasPrefix(string(f.Data), "#cloud-config\n") {
			t.Error("user-data lacks its mark")
		}
	}
	if got := strings.Join(names, " "); got != "meta-data network-config user-data" {
		t.Errorf("files = %s", got)
	}
	if _, err := NoCloud(Options{InstanceID: "i", Hostname: "h"}); err != nil {
		t.Errorf("no user: %v", err)
	}
}
