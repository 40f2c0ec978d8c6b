// Package bake is the way through from a recipe to bootable images: one stage after the other, each taking a value
// and returning one.
package bake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/configure"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/preload"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/provenance"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/resolve"
	"github.com/agibake/agibake/internal/rootfs"
	"github.com/agibake/agibake/internal/sbom"
	"github.com/agibake/agibake/internal/tree"
)

// Options says what to bake, and where to.
type Options struct {
	Recipe      string                         // path of the recipe; "" with Lock
	Lock        *lock.Lock                     // of an appliance that is baked again, with its recipe; local sources come from the cache or Inputs
	Inputs      resolve.Inputs                 // where inputs come from before anything else; may be nil
	Set         map[string]string              // values for ${NAME}
	Out         string                         // folder that receives NAME-VERSION/
	Formats     []string                       // replaces the recipe's outputs when not empty
	Compression string                         // of qcow2: "zstd" (also "") or "zlib"
	Offline     bool                           // only cached inputs
	Stages      string                         // another folder for the results of stages: nothing that was built before counts
	Agid        string                         // the agent's binary; "" is the one beside this program
	Jobs        int                            // parallel workers; 0 is one per processor
	Version     string                         // of agibake, for the SBOM and the provenance
	OVASigner   *ova.Signer                    // signs the OVA; nil leaves it unsigned
	Signer      func(key string) (Sign, error) // opens the key that a recipe signs with; nil signs nothing
}

// Run bakes and returns the report, which also stands in the folder, and that folder.
func Run(ctx context.Context, o Options, p progress.Func) (*Report, string, error) {
	began := time.Now()
	r, err := o.recipe()
	if err != nil {
		return nil, "", err
	}
	signer, err := o.signer(r)
	if err != nil {
		return nil, "", err
	}
	store, err := cas.OpenDefault()
	if err != nil {
		return nil, "", err
	}
	defer store.Close()
	store.Remove = func(path string) error { return namespace.RemoveAll(ctx, path) }
	store.Stages = o.Stages
	b := &baker{Options: o, store: store, progress: p}
	if err := b.tools(); err != nil {
		return nil, "", err
	}
	out, err := openOutput(o.Out, r.Name+"-"+r.Version)
	if err != nil {
		return nil, "", err
	}
	defer out.close()
	l, err := b.pin(ctx, r)
	if err != nil {
		return nil, "", err
	}
	if len(b.Formats) == 0 {
		b.Formats = l.Recipe.Outputs
	}
	report, err := b.report(l)
	if err != nil {
		return nil, "", err
	}
	if old, err := ReadReport(out.final); err == nil && old.Key == report.Key && old.stands(ctx, out.final) {
		old.Cached, old.Seconds = true, time.Since(began).Seconds()
		return old, out.final, b.sign(ctx, out.final, signer)
	}
	if err := b.bake(ctx, l, out, report); err != nil {
		return nil, "", out.roomFor(err)
	}
	if err := b.sign(ctx, out.dir, signer); err != nil {
		return nil, "", out.roomFor(err)
	}
	report.Stages = b.stages
	report.Seconds = time.Since(began).Seconds()
	report.PeakMemory = peakMemory()
	if err := out.publish(ctx, report); err != nil {
		return nil, "", out.roomFor(err)
	}
	return report, out.final, nil
}

func (o Options) recipe() (*recipe.Recipe, error) {
	if o.Lock != nil {
		return &o.Lock.Recipe, nil
	}
	return recipe.Parse(o.Recipe, recipe.Options{Set: o.Set, Getenv: os.LookupEnv})
}

// baker carries what every stage shares; the values between the stages are in bake.
type baker struct {
	Options
	store    *cas.Store
	progress progress.Func
	self     string               // digest of this program and of the agent: a new version runs its stages anew
	agid     string               // path of the agent
	programs []provenance.Program // agibake and the agent

	mu     sync.Mutex
	stages []Stage
}

// bake is the pipeline from the lock to the appliance in out.
func (b *baker) bake(ctx context.Context, l *lock.Lock, out *output, report *Report) error {
	base, images, known, err := b.build(ctx, l)
	if err != nil {
		return err
	}
	defer base.Close()
	placed, err := preload.Place(ctx, images, preload.Options{Epoch: l.Epoch}, b.progress)
	if err != nil {
		return fmt.Errorf("preload containers: %w", err)
	}
	defer placed.Close()
	parts, err := b.configure(ctx, l, base.Tree)
	if err != nil {
		return err
	}
	system, err := merge(base.Tree, placed.Tree, parts.layer)
	if err != nil {
		return err
	}
	agent, configuration, err := apart(parts.layer, configure.AgentPath)
	if err != nil {
		return err
	}
	layers, err := b.layers(ctx, l, out, base, []upper{
		{"containers", placed.Tree, b.imagesKey(l, images)},
		{"agent", agent, ""},
		{"configuration", configuration, ""},
	})
	if err != nil {
		return err
	}
	raw, weights, err := b.disk(ctx, l, out, system, parts)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := b.encode(ctx, l, out, report, raw, weights); err != nil {
		return err
	}
	return b.appliance(ctx, l, out, report, layers, known)
}

// contents is what a bake knows of the packages inside: of the system, and of each container.
type contents struct {
	system     sbom.Packages
	containers []sbom.Container
}

// build makes the system's tree and the container images, side by side: much of either runs on one processor.
func (b *baker) build(ctx context.Context, l *lock.Lock) (base *rootfsLayer, images []preload.Image, known contents, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if base, err = b.rootfs(gctx, "rootfs", l.Epoch, &l.System, rootfs.System); err != nil {
			return err
		}
		if known.system, err = b.facts(gctx, base); err != nil {
			return err
		}
		return b.timed("pack", func() (bool, error) {
			_, hit, err := b.packLower(gctx, l, base)
			return hit, err
		})
	})
	g.Go(func() (err error) {
		images, known.containers, err = b.images(gctx, l)
		return err
	})
	if err := g.Wait(); err != nil {
		if base != nil {
			base.Close()
		}
		return nil, nil, known, err
	}
	return base, images, known, nil
}

// timed runs one stage and notes how long it took.
func (b *baker) timed(name string, run func() (cached bool, err error)) error {
	began := time.Now()
	cached, err := run()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stages = append(b.stages, Stage{Name: name, Seconds: time.Since(began).Seconds(), Cached: cached})
	return err
}

// merge lays the layers over each other, the last on top.
func merge(layers ...*tree.Tree) (*tree.Tree, error) {
	t := layers[0].Clone()
	for _, upper := range layers[1:] {
		if err := t.Overlay(upper); err != nil {
			return nil, fmt.Errorf("merge the layers: %w", err)
		}
	}
	return t, nil
}

// report says what will be baked; the stages add to it.
func (b *baker) report(l *lock.Lock) (*Report, error) {
	r := &l.Recipe
	port, err := portOf(r.Agent.Listen)
	return &Report{
		Name: r.Name, Version: r.Version, LockDigest: lock.Digest(l),
		Key:     b.key(append([]string{lock.Digest(l), b.Compression, b.OVASigner.Fingerprint()}, b.Formats...)...),
		Machine: Machine{CPUs: r.Machine.CPUs, Memory: int64(r.Machine.Memory), Firmware: r.Machine.Firmware, SecureBoot: r.Machine.SecureBoot, Agent: port},
	}, err
}

// tools finds what the bake itself consists of.
func (b *baker) tools() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	b.agid = b.Agid
	if b.agid == "" {
		b.agid = filepath.Join(filepath.Dir(exe), "agid")
	}
	for name, path := range map[string]string{"agibake": exe, "agid": b.agid} {
		sum, err := fileDigests(path)
		if err != nil {
			return fault.Hint(fault.Mark(fault.Missing, fmt.Errorf("find the agent: %w", err)), "make build puts agid beside agibake; --agid names another place")
		}
		b.programs = append(b.programs, provenance.Program{Name: name, SHA256: sum})
	}
	slices.SortFunc(b.programs, func(a, b provenance.Program) int { return strings.Compare(a.Name, b.Name) })
	b.self = b.programs[0].SHA256 + b.programs[1].SHA256
	return nil
}
