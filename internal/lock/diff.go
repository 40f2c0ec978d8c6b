package lock

import (
	"fmt"
	"slices"
	"strings"
)

// Change is one difference between two locks.
type Change struct {
	Where string `json:"where"` // system, container NAME, models, files
	What  string `json:"what"`  // package, archive, image, model, file
	Name  string `json:"name"`
	Old   string `json:"old,omitempty"` // "" = added
	New   string `json:"new,omitempty"` // "" = removed
}

func (c Change) String() string {
	head := c.Where + ": " + c.What + " " + c.Name
	switch {
	case c.Old == "":
		return fmt.Sprintf("%s added (%s)", head, c.New)
	case c.New == "":
		return fmt.Sprintf("%s removed (%s)", head, c.Old)
	}
	return fmt.Sprintf("%s %s → %s", head, c.Old, c.New)
}

// Diff lists what differs between the inputs of two locks, in their order. A nil lock is an empty one.
func Diff(old, new *Lock) []Change {
	before, order := inputs(old)
	after, added := inputs(new)
	for _, k := range added {
		if _, ok := before[k]; !ok {
			order = append(order, k)
		}
	}
	slices.SortStableFunc(order, func(a, b input) int { return strings.Compare(a.where, b.where) })
	var all []Change
	for _, k := range order {
		if before[k] != after[k] {
			o, n := before[k], after[k]
			all = append(all, Change{Where: k.where, What: k.what, Name: k.name, Old: o.text(n), New: n.text(o)})
		}
	}
	return all
}

type input struct{ where, what, name string }

// pin is what a person calls an input's state, and the digest that decides.
type pin struct{ version, digest string }

// text tells p apart from other: by version, and by digest where the versions are equal.
func (p pin) text(other pin) string {
	if p.version == "" || p.version == other.version {
		return strings.TrimSpace(p.version + " " + short(p.digest))
	}
	return p.version
}

func short(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return digest[:min(12, len(digest))]
}

func inputs(l *Lock) (map[input]pin, []input) {
	m := map[input]pin{}
	var order []input
	if l == nil {
		return m, nil
	}
	add := func(where, what, name, version, digest string) {
		k := input{where, what, name}
		if _, ok := m[k]; !ok {
			order = append(order, k)
		}
		m[k] = pin{version, digest}
	}
	packages := func(where string, p *Packages) {
		for _, a := range p.Archives {
			add(where, "archive", a.URL+" "+a.Suite, a.Date, a.SHA256)
		}
		for _, d := range p.Packages {
			add(where, "package", d.Name, d.Version, d.SHA256)
		}
	}
	packages("system", &l.System)
	for _, c := range l.Containers {
		where := "container " + c.Name
		if c.Packages != nil {
			packages(where, c.Packages)
		}
		if c.Manifest != nil {
			add(where, "image", c.Reference, "", c.Manifest.Digest)
		}
	}
	for _, f := range l.Models {
		add("models", "model", f.Path, "", f.SHA256)
	}
	for _, f := range l.Files {
		add("files", "file", f.Path, "", f.SHA256)
	}
	return m, order
}
