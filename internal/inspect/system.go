package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/inspect/extfs"
	"github.com/agibake/agibake/internal/wire"
)

// System is the operating system on a disk.
type System struct {
	OS       map[string]string `json:"os"` // os-release(5)
	Hostname string            `json:"hostname,omitempty"`
	// MachineID is empty where the system was never started.
	MachineID string       `json:"machineID"`
	Kernels   []string     `json:"kernels"` // versions in /boot
	Packages  []Package    `json:"packages"`
	Agent     *wire.Config `json:"agent,omitempty"` // of an agibake appliance
}

// Package is one installed Debian package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// Model is one file of weights.
type Model struct {
	File string `json:"file"`
	Size int64  `json:"size"`
}

const (
	smallFile  = 1 << 20
	statusFile = 64 << 20
)

// system reads the operating system in a file system, nil where there is none.
func (r *Report) system(f *extfs.FS) *System {
	release, err := f.ReadFile("etc/os-release", smallFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.problem(err)
		}
		return nil
	}
	s := &System{OS: assignments(string(release)), Kernels: []string{}, Packages: []Package{}}
	s.Hostname = strings.TrimSpace(string(r.optional(f, "etc/hostname", smallFile)))
	s.MachineID = strings.TrimSpace(string(r.optional(f, "etc/machine-id", smallFile)))
	if boot, err := f.ReadDir("boot"); err == nil {
		for _, e := range boot {
			if version, ok := strings.CutPrefix(e.Name, "vmlinuz-"); ok {
				s.Kernels = append(s.Kernels, version)
			}
		}
		slices.Sort(s.Kernels)
	}
	s.Packages = append(s.Packages, packages(string(r.optional(f, "var/lib/dpkg/status", statusFile)))...)
	if b := r.optional(f, wire.ConfigPath, smallFile); b != nil {
		s.Agent = &wire.Config{}
		if err := json.Unmarshal(b, s.Agent); err != nil {
			r.problem(fmt.Errorf("read %s: %w", wire.ConfigPath, err))
			s.Agent = nil
		}
	}
	return s
}

// optional reads a file that may be missing.
func (r *Report) optional(f *extfs.FS, name string, limit int64) []byte {
	b, err := f.ReadFile(name, limit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.problem(err)
	}
	return b
}

// models lists the weights on the state partition.
func (r *Report) models(f *extfs.FS) {
	list, err := f.ReadDir("models")
	if err != nil {
		return
	}
	for _, e := range list {
		if !e.Dir {
			r.Models = append(r.Models, Model{path.Join("models", e.Name), e.Size})
		}
	}
	slices.SortFunc(r.Models, func(a, b Model) int { return strings.Compare(a.File, b.File) })
}

// assignments reads lines KEY=VALUE with the quotes of a shell.
func assignments(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if n := len(value); n > 1 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
			value = value[1 : n-1]
		}
		m[key] = value
	}
	return m
}

// packages reads the installed packages from dpkg's status file, in its order.
func packages(text string) []Package {
	var list []Package
	var p Package
	installed := false
	add := func() {
		if installed && p.Name != "" {
			list = append(list, p)
		}
		p, installed = Package{}, false
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "":
			add()
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Architecture = value
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	add()
	return list
}
