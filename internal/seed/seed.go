// Package seed renders what cloud-init reads: its configuration in the image, and NoCloud seeds for a hypervisor to attach.
package seed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"text/template"

	cloudinit "github.com/agibake/agibake/cloud-init"
)

// Options describe one instance.
type Options struct {
	InstanceID string // cloud-init runs its per-instance modules once for each value
	Hostname   string
	User       *User // nil adds no user
}

// User is the login that a seed without users means.
type User struct {
	Name           string
	Sudo           bool
	Groups         []string
	Shell          string
	AuthorizedKeys []string
}

// Config renders cloud.cfg.d/95-agibake.cfg.
func Config(o Options) ([]byte, error) { return render("agibake.cfg", cloudinit.Config, o) }

// File is one file of a seed.
type File struct {
	Name string
	Data []byte
}

// NoCloud renders the files of a NoCloud seed (cloud-init, NoCloud data source): the root of a drive labelled cidata.
func NoCloud(o Options) ([]File, error) {
	var files []File
	for _, f := range []struct{ name, text string }{
		{"meta-data", cloudinit.MetaData}, {"network-config", cloudinit.NetworkConfig}, {"user-data", cloudinit.UserData},
	} {
		data, err := render(f.name, f.text, o)
		if err != nil {
			return nil, err
		}
		files = append(files, File{f.name, data})
	}
	return files, nil
}

// render fills a template. Values go in as JSON, which is YAML that no value can break out of.
func render(name, text string, o Options) ([]byte, error) {
	if o.User != nil && o.User.Groups == nil {
		u := *o.User
		u.Groups, o.User = []string{}, &u
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}}).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("seed %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, o); err != nil {
		return nil, fmt.Errorf("seed %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// Identify returns /etc/cloud/ds-identify.cfg.
func Identify() string { return cloudinit.Identify }
