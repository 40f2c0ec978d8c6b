package bake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/rootfs"
)

// key is the digest of a stage's inputs, this program among them.
func (b *baker) key(parts ...string) string {
	h := sha256.New()
	io.WriteString(h, b.self)
	for _, part := range parts {
		fmt.Fprintf(h, "\x00%s", part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fileDigests returns one digest over the contents of files.
func fileDigests(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// rootfsLayer is the tree that a set of packages makes, read from its layer.
type rootfsLayer struct {
	*layer.Layer
	path   string
	diffID string
	key    string
}

const (
	layerFile  = "layer.tar"
	diffIDFile = "diffid"
)

func (b *baker) rootfsKey(epoch int64, packages *lock.Packages, kind rootfs.Kind) string {
	parts := []string{string(kind), packages.Distribution, packages.Release, strconv.FormatInt(epoch, 10)}
	for _, pkg := range packages.Packages {
		parts = append(parts, pkg.Name, pkg.SHA256)
	}
	return b.key(parts...)
}

// rootfs builds the tree of packages, or takes it from the cache.
func (b *baker) rootfs(ctx context.Context, name string, epoch int64, packages *lock.Packages, kind rootfs.Kind) (*rootfsLayer, error) {
	key := b.rootfsKey(epoch, packages, kind)
	timed := b.timed
	if b.ran(name) {
		timed = func(_ string, run func() (bool, error)) error { _, err := run(); return err }
	}
	err := timed(name, func() (bool, error) {
		if _, done := b.store.Stage("rootfs", key); done {
			return true, nil
		}
		_, err := b.store.PutStage(ctx, "rootfs", key, func(dir string) error { return b.buildRootfs(ctx, dir, epoch, packages, kind) })
		return false, err
	})
	if err != nil {
		return nil, err
	}
	return openRootfs(b, key)
}

func (b *baker) buildRootfs(ctx context.Context, dir string, epoch int64, packages *lock.Packages, kind rootfs.Kind) error {
	o := rootfs.Options{Distribution: packages.Distribution, Release: packages.Release, Epoch: epoch, Kind: kind,
		Work: filepath.Join(dir, "work"), Out: filepath.Join(dir, layerFile), DiffID: filepath.Join(dir, diffIDFile), Jobs: b.Jobs}
	for _, pkg := range packages.Packages {
		o.Debs = append(o.Debs, rootfs.Deb{Package: pkg, Path: b.store.Path(pkg.SHA256)})
	}
	if err := rootfs.Build(ctx, o, b.progress); err != nil {
		return err
	}
	return os.RemoveAll(o.Work)
}

func openRootfs(b *baker, key string) (*rootfsLayer, error) {
	dir, ok := b.store.Stage("rootfs", key)
	if !ok {
		return nil, errors.New("the finished root file system vanished from the cache")
	}
	diffID, err := os.ReadFile(filepath.Join(dir, diffIDFile))
	if err != nil {
		return nil, err
	}
	r := &rootfsLayer{path: filepath.Join(dir, layerFile), diffID: strings.TrimSpace(string(diffID)), key: key}
	r.Layer, err = layer.Open(r.path)
	return r, err
}

// peakMemory is the most memory that this process held, in bytes (getrusage(2), ru_maxrss).
func peakMemory() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}
