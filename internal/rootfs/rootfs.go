// Package rootfs turns locked .debs into a reproducible layer: it unpacks them straight into a tree, registers them as
// dpkg would, lets dpkg configure them once, takes out what differs from run to run, and packs the tree.
package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

// Kind is what the tree is for.
type Kind string

// The kinds. A System boots: it gets an initramfs and GRUB's BIOS core image.
const (
	System    Kind = "system"
	Container Kind = "container"
)

// Deb is a locked package and the file that holds it.
type Deb struct {
	lock.Package
	Path string
}

// Options describes one build. Its JSON form travels into the namespace, so all paths must be absolute.
type Options struct {
	Distribution string // ubuntu | debian
	Release      string // codename or suite
	Debs         []Deb  // a closed set: every dependency is among them
	Epoch        int64  // the latest time that a file may carry, seconds since 1970
	Kind         Kind
	Work         string // scratch folder of this build alone; what it holds is removed
	Out          string // the layer's tar
	DiffID       string // file to write the layer's diff ID to, "sha256:…"; "" for none
	Jobs         int    // parallel work; 0 means every core
}

const (
	stage    = "rootfs"
	taskName = "rootfs"
)

// Tasks are the parts of this package that run in a namespace; the program hands them to namespace.Main.
func Tasks() map[string]namespace.Task { return map[string]namespace.Task{taskName: task} }

// Build makes the tree of o and writes it to o.Out as a canonical uncompressed tar (package layer). The same packages,
// epoch and kind give the same bytes, whoever builds, where and when. Errors have kind Untrusted for a .deb that is not
// the locked one, Input for packages that do not fit together, and Missing for what the host lacks.
func Build(ctx context.Context, o Options, p progress.Func) error {
	for _, path := range []*string{&o.Work, &o.Out, &o.DiffID} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("build rootfs: %w", err)
		}
		*path = abs
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.NumCPU()
	}
	if err := tool.Fit(ctx, "xz"); err != nil {
		return fmt.Errorf("build rootfs: %w", err)
	}
	if err := os.MkdirAll(o.Work, 0o755); err != nil {
		return fmt.Errorf("build rootfs: %w", err)
	}
	if err := namespace.Run(ctx, taskName, o, p); err != nil {
		return fmt.Errorf("build rootfs: %w", diskFull(err, o.Work))
	}
	return nil
}

// task is Build inside the namespace.
func task(ctx context.Context, input json.RawMessage, p progress.Func) error {
	var o Options
	if err := json.Unmarshal(input, &o); err != nil {
		return err
	}
	out, err := atomicfile.Create(o.Out)
	if err != nil {
		return err
	}
	defer out.Abort()
	debs, err := openDebs(ctx, o.Debs, o.Jobs)
	defer closeDebs(debs)
	if err != nil {
		return err
	}
	r, err := newRoot(o.Work, installedSize(debs))
	if err != nil {
		return err
	}
	defer r.Close()
	times, err := r.install(ctx, o, debs, p)
	if err != nil {
		return err
	}
	p.Step(stage, "pack")
	t, err := r.tree(o.Epoch, times)
	if err != nil {
		return fmt.Errorf("read the finished tree: %w", err)
	}
	diffID, err := layer.Write(ctx, out, t)
	if err != nil {
		return err
	}
	if o.DiffID != "" {
		if err := atomicfile.WriteFile(o.DiffID, []byte(diffID), 0o644); err != nil {
			return err
		}
	}
	return out.Commit()
}

// install fills the root and returns the file times that came with the packages, by path.
func (r *root) install(ctx context.Context, o Options, debs []*deb, p progress.Func) (map[string]int64, error) {
	u, err := unpack(ctx, r, debs, o, p)
	if err != nil {
		return nil, err
	}
	if err := register(r, debs, o.Epoch); err != nil {
		return nil, fmt.Errorf("register packages: %w", err)
	}
	c := &chroot{dir: r.dir, epoch: o.Epoch}
	if err := c.mount(); err != nil {
		return nil, err
	}
	if err := configure(ctx, r, c, debs, p); err != nil {
		return nil, err
	}
	if err := finish(ctx, r, c, o, p); err != nil {
		return nil, err
	}
	if err := c.unmount(); err != nil {
		return nil, err
	}
	return u.times, r.normalise(o, shippedPaths(debs))
}

// untrusted is the error for a .deb that is not what the lock says.
func untrusted(d Deb, format string, args ...any) error {
	err := fault.Mark(fault.Untrusted, fmt.Errorf("%s %s (%s): %w", d.Name, d.Version, d.Path, fmt.Errorf(format, args...)))
	return fault.Hint(err, "the file in the cache is damaged: remove it, and the next bake fetches it again")
}
