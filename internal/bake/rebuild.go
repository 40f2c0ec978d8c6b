package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/provenance"
)

// Comparison is an appliance beside the one that was baked again from its lock.
type Comparison struct {
	Same        bool          `json:"same"`
	Theirs      digest.Digest `json:"theirs"` // of the index
	Ours        digest.Digest `json:"ours"`
	Differences []Difference  `json:"differences"`
	Notes       []string      `json:"notes,omitempty"` // what may explain them
}

// Difference is one place where they differ.
type Difference struct {
	Part   string `json:"part"`           // layer 3 (configuration), disk qcow2, …
	File   string `json:"file,omitempty"` // in that layer
	Detail string `json:"detail"`
}

// ReadLock returns the lock of an appliance, held against its digest.
func ReadLock(ctx context.Context, s artifact.Reader, a *artifact.Appliance) (*lock.Lock, error) {
	data, err := artifact.ReadBlob(ctx, s, a.Lock, 32<<20)
	if err != nil {
		return nil, fmt.Errorf("read the lock of %s %s: %w", a.Name, a.Version, err)
	}
	l, err := lock.Parse(data)
	if err == nil && (l.Recipe.Name != a.Name || l.Recipe.Version != a.Version) {
		err = fmt.Errorf("it is of %q %q", l.Recipe.Name, l.Recipe.Version)
	}
	if err != nil {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("read the lock of %s %s: %w", a.Name, a.Version, err))
	}
	return l, nil
}

// Rebuild bakes an appliance again from the lock that it holds, with nothing that was built before, into the empty folder
// o.Out, and compares. statement is the appliance's provenance, nil if it has none; recipe and lock of o are not used.
func Rebuild(ctx context.Context, s artifact.Reader, a *artifact.Appliance, statement []byte, o Options, p progress.Func) (*Comparison, error) {
	l, err := ReadLock(ctx, s, a)
	if err != nil {
		return nil, err
	}
	o.Recipe, o.Lock, o.Stages, o.Formats = "", l, filepath.Join(o.Out, "stages"), nil
	for _, d := range a.Disks {
		o.Formats = append(o.Formats, d.Format)
	}
	made, err := made(statement)
	if err != nil {
		return nil, err
	}
	if o.Compression = made.Predicate.BuildDefinition.External.Compression; o.Compression == "" {
		o.Compression = "zstd"
	}
	_, dir, err := Run(ctx, o, p)
	if err != nil {
		return nil, fmt.Errorf("bake %s %s again: %w", a.Name, a.Version, err)
	}
	layout, ours, err := artifact.OpenFolder(ctx, dir)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Same: a.Index.Digest == ours.Index.Digest, Theirs: a.Index.Digest, Ours: ours.Index.Digest, Differences: []Difference{}}
	if c.Same {
		return c, nil
	}
	c.Notes = builders(made, o)
	if made.Predicate.BuildDefinition.External.Certificate != "" {
		c.Notes = append(c.Notes, "its OVA has a signature that only its maker can make")
	}
	return c, c.compare(ctx, side{s, a}, side{layout, ours})
}

// made reads what a provenance says; nil gives nothing.
func made(statement []byte) (st provenance.Statement, err error) {
	if statement == nil {
		return st, nil
	}
	if err := json.Unmarshal(statement, &st); err != nil {
		return st, fault.Mark(fault.Untrusted, fmt.Errorf("read the provenance: %w", err))
	}
	return st, nil
}

// builders tells whether other programs baked it.
func builders(st provenance.Statement, o Options) (notes []string) {
	b := &baker{Options: o}
	if b.tools() != nil {
		return nil
	}
	for _, theirs := range st.Predicate.RunDetails.Builder.Dependencies {
		i := slices.IndexFunc(b.programs, func(p provenance.Program) bool { return p.Name == theirs.Name })
		if i >= 0 && b.programs[i].SHA256 != theirs.Digest["sha256"] {
			notes = append(notes, fmt.Sprintf("it was baked by another %s (version %.80q, this is %q)", theirs.Name, st.Predicate.RunDetails.Builder.Version["agibake"], o.Version))
		}
	}
	return notes
}

// side is one of the two appliances.
type side struct {
	s artifact.Reader
	a *artifact.Appliance
}

// config reads the rootfs image's config.
func (w side) config(ctx context.Context) (c v1.Image, err error) {
	data, err := artifact.ReadBlob(ctx, w.s, w.a.RootfsConfig, artifact.MaxManifest)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && len(c.RootFS.DiffIDs) != len(w.a.RootfsLayers) {
		err = fault.Mark(fault.Untrusted, errors.New("the rootfs image has other layers than its config"))
	}
	return c, err
}

func (c *Comparison) add(part, file, format string, args ...any) {
	c.Differences = append(c.Differences, Difference{part, file, fmt.Sprintf(format, args...)})
}

// compare finds out what differs, from the layers' files up to the index.
func (c *Comparison) compare(ctx context.Context, theirs, ours side) error {
	x, err := theirs.config(ctx)
	if err != nil {
		return err
	}
	y, err := ours.config(ctx)
	if err != nil {
		return err
	}
	for i := range max(len(x.RootFS.DiffIDs), len(y.RootFS.DiffIDs)) {
		part := fmt.Sprintf("layer %d", i+1)
		if i < len(x.History) {
			part += fmt.Sprintf(" (%.40s)", x.History[i].Comment)
		}
		switch {
		case i >= len(x.RootFS.DiffIDs) || i >= len(y.RootFS.DiffIDs):
			c.add(part, "", "only one of the two has it")
		case x.RootFS.DiffIDs[i] != y.RootFS.DiffIDs[i]:
			if err := c.layer(ctx, part, theirs, ours, i); err != nil {
				return err
			}
		case theirs.a.RootfsLayers[i].Digest != ours.a.RootfsLayers[i].Digest:
			c.add(part, "", "the same files, compressed otherwise")
		}
	}
	for _, d := range theirs.a.Disks {
		if o, _ := ours.a.Disk(d.Format); o.SHA256 != d.SHA256 {
			c.add("disk "+d.Format, "", "its SHA-256 is %s, ours %s", d.SHA256, o.SHA256)
		}
	}
	if len(c.Differences) == 0 {
		c.add("index", "", "its descriptions differ, the content does not")
	}
	return nil
}
