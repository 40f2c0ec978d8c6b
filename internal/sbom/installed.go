package sbom

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/agibake/agibake/internal/tree"
)

// Installed is what a system knows of a package beyond what the lock pins.
type Installed struct {
	Version            string  `json:"version"`
	Source             string  `json:"source,omitempty"` // source package
	SourceVersion      string  `json:"sourceVersion,omitempty"`
	Maintainer         string  `json:"maintainer,omitempty"`
	OriginalMaintainer string  `json:"originalMaintainer,omitempty"` // of a distribution that this one builds on
	Homepage           string  `json:"homepage,omitempty"`
	License            License `json:"license"`
}

// Packages are the installed packages of a tree by NAME/ARCHITECTURE.
type Packages map[string]Installed

// Key names a package in Packages.
func Key(name, architecture string) string { return name + "/" + architecture }

// ReadTree reads dpkg's database and the packages' copyright files in a tree. A tree without the database has no packages.
func ReadTree(ctx context.Context, t *tree.Tree) (Packages, error) {
	status, err := t.ReadFile("var/lib/dpkg/status")
	if errors.Is(err, fs.ErrNotExist) {
		return Packages{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the installed packages: %w", err)
	}
	list := Packages{}
	for _, p := range control(string(status)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := p["package"]
		if name == "" || !strings.HasSuffix(p["status"], " installed") {
			continue
		}
		i := Installed{Version: p["version"], Source: name, SourceVersion: p["version"], Maintainer: p["maintainer"],
			OriginalMaintainer: p["original-maintainer"], Homepage: p["homepage"]}
		if source := p["source"]; source != "" { // NAME or NAME (VERSION)
			rest := ""
			if i.Source, rest, _ = strings.Cut(source, " ("); rest != "" {
				i.SourceVersion = strings.TrimSuffix(rest, ")")
			}
		}
		if text, err := t.ReadFile("usr/share/doc/" + name + "/copyright"); err == nil {
			i.License = ParseCopyright(text)
		}
		list[Key(name, p["architecture"])] = i
	}
	return list, nil
}
