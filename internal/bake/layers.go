package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/preload"
	"github.com/agibake/agibake/internal/tree"
)

// upper is a layer of the rootfs image over the base system.
type upper struct {
	comment string
	tree    *tree.Tree
	key     string // of everything that the tree is made of; "" for one that is made anew each time
}

// apart takes a large file that seldom changes out of a tree, into one of its own: a change of the rest then sends the
// rest only.
func apart(t *tree.Tree, file string) (own, rest *tree.Tree, err error) {
	own, rest = tree.New(), t.Clone()
	rest.Remove(file)
	return own, rest, putWithFolders(own, t, file)
}

// packedFile is a layer in its compressed form, packedInfo what is known of it.
const (
	packedFile = "layer.tar.gz"
	packedInfo = "layer.json"
)

// layers compresses the layers of the rootfs image. A layer whose content is known by a key is compressed once.
func (b *baker) layers(ctx context.Context, l *lock.Lock, out *output, base *rootfsLayer, uppers []upper) ([]artifact.LayerFile, error) {
	var list []artifact.LayerFile
	err := b.timed("layers", func() (bool, error) {
		cached := true
		var hit bool
		var err error
		if list, hit, err = b.packLower(ctx, l, base); err != nil {
			return false, err
		}
		cached = cached && hit
		for _, u := range uppers {
			write := func(w io.Writer) (string, error) { return layer.Write(ctx, w, u.tree) }
			f, hit := artifact.LayerFile{}, false
			if u.key != "" {
				f, hit, err = b.packOnce(ctx, u.comment, u.key, write)
			} else {
				dir := filepath.Join(out.work, u.comment)
				f, err = b.pack(ctx, dir, u.comment, write)
			}
			if err != nil {
				return false, err
			}
			cached = cached && hit
			list = append(list, f)
		}
		return cached, nil
	})
	return list, err
}

// packLower compresses the packages' files, unless they are already being or were: the base system, and over it the GPU
// stack of a recipe that has one.
func (b *baker) packLower(ctx context.Context, l *lock.Lock, base *rootfsLayer) ([]artifact.LayerFile, bool, error) {
	if l.Recipe.GPU == nil {
		f, hit, err := b.packOnce(ctx, "base system", base.diffID, func(w io.Writer) (string, error) { return base.diffID, base.copyTo(w) })
		return []artifact.LayerFile{f}, hit, err
	}
	type parts struct{ rest, gpu *tree.Tree }
	split := sync.OnceValues(func() (p parts, err error) {
		p.gpu, p.rest, err = gpuStack(base.Tree, &l.System)
		return p, err
	})
	part := func(comment string, choose func(parts) *tree.Tree) (artifact.LayerFile, bool, error) {
		return b.packOnce(ctx, comment, base.diffID+" split", func(w io.Writer) (string, error) {
			p, err := split()
			if err != nil {
				return "", err
			}
			return layer.Write(ctx, w, choose(p))
		})
	}
	lower, hit, err := part("base system", func(p parts) *tree.Tree { return p.rest })
	if err != nil {
		return nil, false, err
	}
	gpu, hitGPU, err := part("GPU stack", func(p parts) *tree.Tree { return p.gpu })
	return []artifact.LayerFile{lower, gpu}, hit && hitGPU, err
}

// copyTo writes the layer's tar as it is.
func (r *rootfsLayer) copyTo(w io.Writer) error {
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return errors.Join(err, f.Close())
}

// packOnce is pack with the result in the cache.
func (b *baker) packOnce(ctx context.Context, comment, key string, write func(io.Writer) (string, error)) (artifact.LayerFile, bool, error) {
	key = b.key("packed layer", comment, key)
	dir, hit := b.store.Stage("packed", key)
	if !hit {
		var err error
		dir, err = b.store.PutStage(ctx, "packed", key, func(dir string) error {
			f, err := b.pack(ctx, dir, comment, write)
			if err != nil {
				return err
			}
			f.Path = ""
			data, err := json.Marshal(f)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, packedInfo), data, 0o644)
		})
		if err != nil {
			return artifact.LayerFile{}, false, err
		}
	}
	var f artifact.LayerFile
	data, err := os.ReadFile(filepath.Join(dir, packedInfo))
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	f.Path = filepath.Join(dir, packedFile)
	return f, hit, err
}

// pack compresses the tar that write writes into dir. write returns the tar's diff ID.
func (b *baker) pack(ctx context.Context, dir, comment string, write func(io.Writer) (string, error)) (artifact.LayerFile, error) {
	b.progress.Step("layers", comment)
	l := artifact.LayerFile{Path: filepath.Join(dir, packedFile), MediaType: v1.MediaTypeImageLayerGzip, Comment: comment}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return l, err
	}
	f, err := os.Create(l.Path)
	if err != nil {
		return l, err
	}
	defer f.Close()
	z := layer.NewGzipWriter(ctx, f, b.Jobs)
	l.DiffID, err = write(z)
	if err := errors.Join(z.Close(), err); err != nil {
		return l, fmt.Errorf("pack the layer %s: %w", comment, err)
	}
	l.Digest, l.Size = z.Digest(), z.Size()
	return l, errors.Join(f.Sync(), f.Close())
}

// imagesKey names everything that the layer of the placed images depends on.
func (b *baker) imagesKey(l *lock.Lock, images []preload.Image) string {
	parts := []string{"containers", strconv.FormatInt(l.Epoch, 10)}
	for _, i := range images {
		parts = append(parts, i.Reference, i.ManifestType, string(digest.FromBytes(i.Manifest)))
	}
	return b.key(parts...)
}
