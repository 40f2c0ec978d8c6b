package bake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/agibake/agibake/internal/configure"
	"github.com/agibake/agibake/internal/disk"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/sparse"
	"github.com/agibake/agibake/internal/tree"
)

// parts is what the recipe adds to the installed system.
type parts struct {
	layer, state *tree.Tree
	options      configure.Options
}

func spec(l *lock.Lock) disk.Spec {
	m := l.Recipe.Machine
	return disk.Spec{Size: int64(m.Disk), SystemSize: int64(m.SystemSize), Seed: lock.Digest(l), Epoch: l.Epoch}
}

// fits refuses models that the state partition cannot hold, before they are fetched.
func fits(r *recipe.Recipe, l *lock.Lock) error {
	plan, err := disk.Plan(spec(l))
	if err != nil {
		return err
	}
	var need int64
	for _, m := range l.Models {
		need += m.Size
	}
	if need <= plan.State.Size {
		return nil
	}
	err = fmt.Errorf("%s: the models take %d MiB, and the state partition has %d MiB", r.Position("models"), need>>20, plan.State.Size>>20)
	return fault.Hint(fault.Mark(fault.Input, err), "raise machine.disk, or lower machine.systemSize")
}

// configure makes the configuration layer and the state tree.
func (b *baker) configure(ctx context.Context, l *lock.Lock, base *tree.Tree) (*parts, error) {
	ids, err := disk.Plan(spec(l))
	if err != nil {
		return nil, err
	}
	p := &parts{options: configure.Options{
		Lock: l, LockDigest: lock.Digest(l), Base: base, Agid: b.agid,
		OpenInput:  func(sum string) (fs.File, error) { return b.store.Open(sum) },
		SystemUUID: ids.SystemUUID, StateUUID: ids.StateUUID, ESPVolumeID: ids.ESPVolumeID,
	}}
	for _, c := range l.Containers {
		p.options.Images = append(p.options.Images, configure.ImageRef{Name: c.Name, Reference: c.Reference})
	}
	return p, b.timed("configure", func() (_ bool, err error) {
		b.progress.Step("configure", l.Recipe.Name)
		if p.layer, err = configure.Layer(ctx, p.options); err != nil {
			return false, err
		}
		p.state, err = configure.State(ctx, p.options)
		return false, err
	})
}

// disk writes the raw disk and returns it, open, with the weights that lie in it.
func (b *baker) disk(ctx context.Context, l *lock.Lock, out *output, system *tree.Tree, p *parts) (raw *os.File, weights []sparse.Inlay, err error) {
	s := spec(l)
	s.System, s.State = system, p.state
	if slices.Contains(l.Recipe.Machine.Firmware, "bios") {
		if s.BootImage, s.CoreImage, err = configure.BIOS(system); err != nil {
			return nil, nil, err
		}
	}
	if slices.Contains(l.Recipe.Machine.Firmware, "uefi") {
		if s.ESP, err = configure.ESP(system, p.options); err != nil {
			return nil, nil, err
		}
	}
	err = b.timed("disk", func() (bool, error) {
		if raw, err = os.Create(filepath.Join(out.work, "disk.raw")); err != nil {
			return false, err
		}
		weights, err = disk.WriteApart(ctx, raw, s, b.progress)
		return false, err
	})
	return raw, weights, err
}

// encode writes the disk in every format that is wanted.
func (b *baker) encode(ctx context.Context, l *lock.Lock, out *output, report *Report, raw *os.File, weights []sparse.Inlay) error {
	r := &l.Recipe
	var outs []format.Output
	for _, kind := range b.Formats {
		outs = append(outs, format.Output{Format: format.Kind(kind), Path: filepath.Join(out.dir, r.Name+"-"+r.Version+"."+kind)})
	}
	o := format.Options{Compression: b.Compression, Jobs: b.Jobs, Seed: lock.Digest(l), Inlays: weights, OVA: ova.Spec{
		Name: r.Name, Version: r.Version, CPUs: r.Machine.CPUs, MemoryMiB: int64(r.Machine.Memory) >> 20,
		UEFI: slices.Contains(r.Machine.Firmware, "uefi"), SecureBoot: r.Machine.SecureBoot, ModTime: l.Epoch, Signer: b.OVASigner,
	}}
	return b.timed("encode", func() (bool, error) {
		results, err := format.Encode(ctx, raw, outs, o, b.progress)
		for _, in := range weights {
			err = errors.Join(err, in.File.Close())
		}
		for _, res := range results {
			info, err := os.Stat(res.Path)
			if err != nil {
				return false, err
			}
			report.Outputs = append(report.Outputs, Output{Format: string(res.Format), File: filepath.Base(res.Path),
				Size: res.Size, SHA256: res.SHA256, ModTime: info.ModTime().UnixNano(), sums: res.Sums})
		}
		return false, err
	})
}

// portOf returns the port of a listen address such as ":8443".
func portOf(listen string) (int, error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 0, fmt.Errorf("agent.listen: %w", err)
	}
	return strconv.Atoi(port)
}
