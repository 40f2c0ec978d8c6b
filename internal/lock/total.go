package lock

import (
	"fmt"
	"strings"
)

// Input is one pinned blob.
type Input struct {
	Title  string // for a person: package htop 3.0.5-7
	SHA256 string // hex
	Size   int64  // bytes
}

// Inputs lists what a lock pins, in its order, each digest once.
func Inputs(l *Lock) []Input {
	var list []Input
	seen := map[string]bool{}
	add := func(title, digest string, size int64) {
		if digest = strings.TrimPrefix(digest, "sha256:"); !seen[digest] {
			seen[digest] = true
			list = append(list, Input{title, digest, size})
		}
	}
	packages := func(p *Packages) {
		for _, d := range p.Packages {
			add("package "+d.Name+" "+d.Version, d.SHA256, d.Size)
		}
	}
	packages(&l.System)
	for _, c := range l.Containers {
		if c.Packages != nil {
			packages(c.Packages)
			continue
		}
		add("container "+c.Name+" manifest", c.Manifest.Digest, c.Manifest.Size)
		add("container "+c.Name+" config", c.Config.Digest, c.Config.Size)
		for i, b := range c.Layers {
			add(fmt.Sprintf("container %s layer %d", c.Name, i+1), b.Digest, b.Size)
		}
	}
	for _, f := range l.Models {
		add("model "+f.Path, f.SHA256, f.Size)
	}
	for _, f := range l.Files {
		add("file "+f.Path, f.SHA256, f.Size)
	}
	return list
}

// Total counts the pinned inputs, each digest once, and their bytes.
func Total(l *Lock) (number int, bytes int64) {
	list := Inputs(l)
	for _, in := range list {
		bytes += in.Size
	}
	return len(list), bytes
}
