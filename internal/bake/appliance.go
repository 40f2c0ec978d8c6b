package bake

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/provenance"
	"github.com/agibake/agibake/internal/sbom"
)

// appliance writes oci/: the index over everything that was baked, and what refers to it.
func (b *baker) appliance(ctx context.Context, l *lock.Lock, out *output, report *Report, layers []artifact.LayerFile, known contents) error {
	return b.timed("layout", func() (bool, error) {
		b.progress.Step("layout", l.Recipe.Name)
		s := artifact.ApplianceSpec{Layers: layers, Config: artifact.Config{Name: report.Name, Version: report.Version,
			Created: *artifact.Time(l.Epoch), LockDigest: report.LockDigest, Machine: report.Machine}}
		var err error
		if s.Lock, s.Recipe, err = lock.Portable(l); err != nil {
			return false, err
		}
		for _, o := range report.Outputs {
			s.Disks = append(s.Disks, artifact.DiskFile{Format: o.Format, Path: filepath.Join(out.dir, o.File), Sums: o.sums})
		}
		layout, err := artifact.CreateLayout(filepath.Join(out.dir, "oci"))
		if err != nil {
			return false, err
		}
		a, err := artifact.Assemble(ctx, layout, s)
		if err != nil {
			return false, err
		}
		report.Index, report.Rootfs = string(a.Index.Digest), string(a.Rootfs.Digest)
		for _, f := range layers {
			report.Layers = append(report.Layers, f.DiffID)
		}
		whole, err := artifact.ReadAppliance(ctx, layout, a.Index)
		if err != nil {
			return false, err
		}
		return false, errors.Join(b.bill(ctx, l, layout, whole, known), b.record(ctx, l, layout, whole, report.Key))
	})
}

// bill writes the SBOM.
func (b *baker) bill(ctx context.Context, l *lock.Lock, layout *artifact.Layout, a *artifact.Appliance, known contents) error {
	in := sbom.Input{Lock: l, LockDigest: a.LockDigest, Index: a.Index.Digest, Tool: b.Version,
		System: known.system, Containers: known.containers, Agent: sbom.Program{SHA256: b.programs[1].SHA256}}
	info, err := buildinfo.ReadFile(b.agid)
	if err != nil {
		return fmt.Errorf("read what the agent is built of: %w", err)
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		in.Agent.Modules = append(in.Agent.Modules, sbom.Module{Path: m.Path, Version: m.Version})
	}
	for _, m := range l.Models {
		f, err := b.store.Open(m.SHA256)
		if err != nil {
			return fmt.Errorf("read the licence of model %s: %w", m.Path, err)
		}
		in.Models = append(in.Models, sbom.ModelLicense(f))
		f.Close() // the disk holds its bytes already
	}
	document, err := sbom.Build(in)
	if err == nil {
		_, err = sbom.Write(ctx, layout, a.Index, document)
	}
	return err
}

// record writes the provenance.
func (b *baker) record(ctx context.Context, l *lock.Lock, layout *artifact.Layout, a *artifact.Appliance, key string) error {
	statement, err := provenance.Build(provenance.Input{Lock: l, LockDigest: a.LockDigest, Appliance: a, Formats: b.Formats,
		Compression: b.Compression, Certificate: b.OVASigner.Fingerprint(), Key: key, Tool: b.Version, Programs: b.programs})
	if err == nil {
		_, err = provenance.Write(ctx, layout, a.Index, statement)
	}
	return err
}

// facts are the packages of a system, with their licences, read once.
func (b *baker) facts(ctx context.Context, base *rootfsLayer) (sbom.Packages, error) {
	const file = "packages.json"
	key := b.key("facts", base.key)
	dir, hit := b.store.Stage("facts", key)
	if !hit {
		var err error
		dir, err = b.store.PutStage(ctx, "facts", key, func(dir string) error {
			known, err := sbom.ReadTree(ctx, base.Tree)
			if err != nil {
				return err
			}
			data, err := json.Marshal(known)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, file), data, 0o644)
		})
		if err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	var known sbom.Packages
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	return known, err
}
