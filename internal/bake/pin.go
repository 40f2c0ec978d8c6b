package bake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/resolve"
)

// LockPath is where the lock of a recipe stands: beside it, demo.yaml → demo.lock.
func LockPath(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".lock" }

// pin brings the recipe's lock up to date and every input into the cache.
func (b *baker) pin(ctx context.Context, r *recipe.Recipe) (*lock.Lock, error) {
	var l *lock.Lock
	err := b.timed("resolve", func() (cached bool, err error) {
		path := LockPath(b.Recipe)
		old, err := lock.Read(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		o := resolve.Options{Store: b.store, BaseDir: filepath.Dir(b.Recipe), Offline: b.Offline, Previous: old}
		l, err = b.gather(ctx, r, o)
		if errors.Is(err, resolve.ErrGone) && moving(r) {
			b.progress.Warn("resolve", "the archive no longer has what the lock pins; resolving afresh")
			o.Previous = nil
			l, err = b.gather(ctx, r, o)
		}
		if err != nil {
			return false, err
		}
		if old != nil && lock.Digest(old) == lock.Digest(l) {
			return true, nil
		}
		return false, write(path, l)
	})
	return l, err
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
