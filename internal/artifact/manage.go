package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
)

// Tags lists the names in the layout.
func (l *Layout) Tags(ctx context.Context) ([]string, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, d := range x.Manifests {
		if tag := d.Annotations[v1.AnnotationRefName]; tag != "" {
			list = append(list, tag)
		}
	}
	return list, nil
}

// Delete takes a manifest with all its names, its referrers and cosign's signatures off index.json. Sweep removes the bytes.
func (l *Layout) Delete(ctx context.Context, d digest.Digest) error {
	referrers, err := l.Referrers(ctx, d)
	if err != nil {
		return err
	}
	return l.edit(ctx, func(x *v1.Index) {
		x.Manifests = slices.DeleteFunc(x.Manifests, func(o v1.Descriptor) bool {
			return o.Digest == d || strings.HasPrefix(o.Annotations[v1.AnnotationRefName], TagOf(d, ".")) || slices.ContainsFunc(referrers, func(r v1.Descriptor) bool { return r.Digest == o.Digest })
		})
	})
}

// edit changes index.json, one process at a time.
func (l *Layout) edit(ctx context.Context, change func(*v1.Index)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	unlock, err := flock(ctx, filepath.Join(l.dir, "blobs"), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("layout %s: %w", l.dir, err)
	}
	defer unlock()
	x, err := l.Index(ctx)
	if err != nil {
		return err
	}
	change(x)
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(l.dir, v1.ImageIndexFile), data, 0o644)
}

// Sweep removes the blobs that nothing in index.json leads to, and what writers left that were killed. It waits until
// nobody adds to the layout: see Use. It returns the bytes that were freed.
func (l *Layout) Sweep(ctx context.Context) (int64, error) {
	unlock, err := flock(ctx, filepath.Join(l.dir, v1.ImageLayoutFile), unix.LOCK_EX)
	if err != nil {
		return 0, fmt.Errorf("layout %s: %w", l.dir, err)
	}
	defer unlock()
	keep := map[string]bool{}
	x, err := l.Index(ctx)
	if err != nil {
		return 0, err
	}
	for _, d := range x.Manifests {
		if err := l.reach(ctx, d, keep); err != nil {
			return 0, fmt.Errorf("layout %s: nothing is removed, for what is needed is not known: %w", l.dir, err)
		}
	}
	dir := filepath.Join(l.dir, "blobs", "sha256")
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var freed int64
	for _, e := range list {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || keep[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return freed, err
		}
		freed += info.Size()
	}
	return freed, nil
}

// reach notes what a manifest leads to.
func (l *Layout) reach(ctx context.Context, d v1.Descriptor, keep map[string]bool) error {
	name, err := Hex(d.Digest)
	if err != nil || keep[name] {
		return err
	}
	keep[name] = true
	raw, err := l.Manifest(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return nil // a pull may have left it out
	}
	if err != nil {
		return err
	}
	m, err := Decode(raw, d)
	if err != nil {
		return err
	}
	for _, b := range append(slices.Clone(m.Layers), pointed(m.Config)...) {
		keep[strings.TrimPrefix(string(b.Digest), "sha256:")] = true
	}
	for _, b := range m.Manifests {
		if err := l.reach(ctx, b, keep); err != nil {
			return err
		}
	}
	return nil
}

func pointed(d *v1.Descriptor) []v1.Descriptor {
	if d == nil {
		return nil
	}
	return []v1.Descriptor{*d}
}

// Use keeps Sweep away while blobs are added that nothing leads to yet, until the result is called.
func (l *Layout) Use(ctx context.Context) (done func(), err error) {
	done, err = flock(ctx, filepath.Join(l.dir, v1.ImageLayoutFile), unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", l.dir, err)
	}
	return done, nil
}

// flock waits for a lock, which ends with the process.
func flock(ctx context.Context, path string, how int) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
