package bake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/resolve"
)

// LockPath is where the lock of a recipe stands: beside it, demo.yaml → demo.lock.
func LockPath(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".lock" }

// LockOptions says what to pin.
type LockOptions struct {
	Recipe  string            // path of the recipe
	Set     map[string]string // values for ${NAME}
	Offline bool              // use no network
	Update  bool              // pin everything anew, whatever the lock so far says
}

// Pinned is a recipe's lock as it now stands beside it.
type Pinned struct {
	Lock    *lock.Lock
	Old     *lock.Lock // the lock before; nil where there was none, or none that could be read
	Path    string
	Written bool // the lock pins something else than the old one
}

// Lock brings the lock of a recipe up to date, without fetching what it pins.
func Lock(ctx context.Context, o LockOptions, p progress.Func) (*Pinned, error) {
	r, err := recipe.Parse(o.Recipe, recipe.Options{Set: o.Set, Getenv: os.LookupEnv})
	if err != nil {
		return nil, err
	}
	store, err := cas.OpenDefault()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	ro := resolve.Options{Store: store, BaseDir: filepath.Dir(o.Recipe), Offline: o.Offline}
	return pin(o.Recipe, o.Update, func(old *lock.Lock) (*lock.Lock, error) {
		ro.Previous = old
		return resolve.Resolve(ctx, r, ro, p)
	})
}

// pin reads the lock beside a recipe, has it resolved, and writes the result where it pins something else. With update
// resolve is given no old lock, and one that cannot be read does not matter.
func pin(path string, update bool, resolve func(old *lock.Lock) (*lock.Lock, error)) (*Pinned, error) {
	n := &Pinned{Path: LockPath(path)}
	var err error
	if n.Old, err = lock.Read(n.Path); err != nil && !errors.Is(err, fs.ErrNotExist) && !update {
		return nil, err
	}
	previous := n.Old
	if update {
		previous = nil
	}
	if n.Lock, err = resolve(previous); err != nil {
		return nil, err
	}
	n.Written = n.Old == nil || lock.Digest(n.Old) != lock.Digest(n.Lock)
	if n.Written {
		err = write(n.Path, n.Lock)
	}
	return n, err
}

// pin brings the recipe's lock up to date and every input into the cache.
func (b *baker) pin(ctx context.Context, r *recipe.Recipe) (*lock.Lock, error) {
	if b.Lock != nil {
		return b.Lock, b.timed("resolve", func() (bool, error) {
			return false, resolve.Fetch(ctx, b.Lock, resolve.Options{Store: b.store, Offline: b.Offline, Inputs: b.Inputs}, b.progress)
		})
	}
	var n *Pinned
	finish := func(error) {}
	err := b.timed("resolve", func() (cached bool, err error) {
		n, err = pin(b.Recipe, false, func(old *lock.Lock) (*lock.Lock, error) {
			o := resolve.Options{Store: b.store, BaseDir: filepath.Dir(b.Recipe), Offline: b.Offline, Previous: old, Inputs: b.Inputs}
			finish = b.early(ctx, old, r)
			l, err := b.gather(ctx, r, o)
			if errors.Is(err, resolve.ErrGone) && moving(r) {
				b.progress.Warn("resolve", "the archive no longer has what the lock pins; resolving afresh")
				o.Previous = nil
				l, err = b.gather(ctx, r, o)
			}
			return l, err
		})
		return err == nil && !n.Written, err
	})
	finish(err)
	if err != nil {
		return nil, err
	}
	return n.Lock, nil
}

// gather pins the inputs of a recipe and brings them into the cache.
func (b *baker) gather(ctx context.Context, r *recipe.Recipe, o resolve.Options) (*lock.Lock, error) {
	l, err := resolve.Resolve(ctx, r, o, b.progress)
	if err == nil {
		err = fits(r, l)
	}
	if err == nil {
		err = resolve.Fetch(ctx, l, o, b.progress)
	}
	return l, err
}

func write(path string, l *lock.Lock) error {
	data, err := lock.Marshal(l)
	if err == nil {
		err = atomicfile.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return fault.Hint(fmt.Errorf("write lock: %w", err), "the lock is written beside the recipe: that folder must be writable, with room")
	}
	return nil
}

// moving tells whether a recipe draws on a suite whose packages are dropped at any time: it says so by
// checkValidUntil: false.
func moving(r *recipe.Recipe) bool {
	off := func(check *bool) bool { return check != nil && !*check }
	for _, c := range r.Containers {
		if c.Image.Packages != nil && off(c.Image.Packages.CheckValidUntil) {
			return true
		}
	}
	return off(r.Base.CheckValidUntil)
}
