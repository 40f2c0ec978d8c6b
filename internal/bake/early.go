package bake

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/rootfs"
)

// early builds the systems that the lock so far pins, while the digests of new local models are computed: that of
// 20 GiB takes as long as a system. The results go to the cache, where the bake finds them; what fails here fails there
// again. The function that it returns ends it: at once where the recipe could not be pinned, else when it is done.
func (b *baker) early(ctx context.Context, old *lock.Lock, r *recipe.Recipe) func(error) {
	if old == nil || !b.unread(r) || !b.foresees(old, r) {
		return func(error) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &baker{Options: b.Options, store: b.store, progress: b.progress, self: b.self, agid: b.agid}
	var g errgroup.Group
	build := func(name string, p *lock.Packages, kind rootfs.Kind) {
		if _, done := b.store.Stage("rootfs", b.rootfsKey(old.Epoch, p, kind)); done {
			return
		}
		g.Go(func() error {
			base, err := e.rootfs(ctx, name, old.Epoch, p, kind)
			if err != nil {
				return err
			}
			return base.Close()
		})
	}
	build("rootfs", &old.System, rootfs.System)
	for _, c := range old.Containers {
		if c.Packages != nil {
			build("rootfs "+c.Name, c.Packages, rootfs.Container)
		}
	}
	return func(err error) {
		if err != nil {
			cancel()
		}
		if g.Wait() == nil {
			b.mu.Lock()
			b.stages = append(b.stages, e.stages...)
			b.mu.Unlock()
		}
		cancel()
	}
}

// unread tells whether the recipe has a large local model whose digest is not known.
func (b *baker) unread(r *recipe.Recipe) bool {
	const large = 64 << 20
	for _, m := range r.Models {
		path, local := strings.CutPrefix(m.Source, "file:")
		if path = strings.TrimPrefix(path, "//"); !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(b.Recipe), path)
		}
		if _, known := b.store.Memo(path, "import"); !local || known {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Size() >= large {
			return true
		}
	}
	return false
}

// foresees tells whether the lock so far pins what the recipe's system and containers consist of, and the cache has it.
func (b *baker) foresees(old *lock.Lock, r *recipe.Recipe) bool {
	if !lock.AnswersSystem(old, r) || len(old.Containers) != len(r.Containers) || len(old.Recipe.Containers) != len(r.Containers) {
		return false
	}
	sets := []*lock.Packages{&old.System}
	for _, c := range r.Containers {
		was := old.Container(c.Name, c.Image)
		if was == nil {
			return false
		}
		if was.Packages != nil {
			sets = append(sets, was.Packages)
		}
	}
	for _, set := range sets {
		for _, pkg := range set.Packages {
			if !b.store.Has(pkg.SHA256, pkg.Size) {
				return false
			}
		}
	}
	return true
}

// ran tells whether a stage was run early.
func (b *baker) ran(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.stages {
		if s.Name == name {
			return true
		}
	}
	return false
}
