package bake

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/preload"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/rootfs"
	"github.com/agibake/agibake/internal/sbom"
)

// images makes every container image of the lock ready to be placed: built where it is made of packages, and its
// layers unpacked. known tells what is in each.
func (b *baker) images(ctx context.Context, l *lock.Lock) (list []preload.Image, known []sbom.Container, err error) {
	err = b.timed("images", func() (bool, error) {
		cached := true
		for i := range l.Containers {
			c := &l.Containers[i]
			build := b.pinned
			if c.Packages != nil {
				build = b.packed
			}
			image, installed, hit, err := build(ctx, l, c, &l.Recipe.Containers[i])
			if err != nil {
				return false, fmt.Errorf("container %s: %w", c.Name, err)
			}
			cached = cached && hit
			list = append(list, image)
			known = append(known, sbom.Container{Digest: digest.FromBytes(image.Manifest), Packages: installed})
		}
		return cached, nil
	})
	return list, known, err
}

// packed is the image of a container that is built from packages.
func (b *baker) packed(ctx context.Context, l *lock.Lock, c *lock.Container, want *recipe.Container) (preload.Image, sbom.Packages, bool, error) {
	base, err := b.rootfs(ctx, "rootfs "+c.Name, l.Epoch, c.Packages, rootfs.Container)
	if err != nil {
		return preload.Image{}, nil, false, err
	}
	defer base.Close()
	known, err := b.facts(ctx, base)
	if err != nil {
		return preload.Image{}, nil, false, err
	}
	p := want.Image.Packages
	config := preload.ImageConfig{Entrypoint: p.Entrypoint, WorkingDir: p.WorkingDir, User: p.User}
	for name, value := range p.Env {
		config.Env = append(config.Env, name+"="+value)
	}
	slices.Sort(config.Env)
	settings, err := json.Marshal(config)
	if err != nil {
		return preload.Image{}, nil, false, err
	}
	key := b.key("image", base.key, c.Reference, string(settings))
	dir, hit := b.store.Stage("image", key)
	if !hit {
		b.progress.Step("images", "pack "+c.Name)
		dir, err = b.store.PutStage(ctx, "image", key, func(dir string) error {
			image, err := preload.Pack(ctx, base.path, config, c.Reference, l.Epoch, dir)
			if err != nil {
				return err
			}
			return saveImage(dir, image)
		})
		if err != nil {
			return preload.Image{}, nil, false, err
		}
	}
	image, err := loadImage(dir)
	if err == nil {
		image.Layers[0].Tar = base.path
	}
	return image, known, hit, err
}

const imageFile = "image.json"

// saveImage keeps the description of an image whose blobs lie in dir.
func saveImage(dir string, image preload.Image) error {
	for i := range image.Layers {
		image.Layers[i].Path = filepath.Base(image.Layers[i].Path)
	}
	data, err := json.Marshal(image)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imageFile), data, 0o644)
}

func loadImage(dir string) (preload.Image, error) {
	var image preload.Image
	data, err := os.ReadFile(filepath.Join(dir, imageFile))
	if err != nil {
		return image, err
	}
	if err := json.Unmarshal(data, &image); err != nil {
		return image, err
	}
	for i := range image.Layers {
		image.Layers[i].Path = filepath.Join(dir, image.Layers[i].Path)
	}
	return image, nil
}

// pinned is an image whose blobs the lock names; its layers are unpacked once and kept.
func (b *baker) pinned(ctx context.Context, _ *lock.Lock, c *lock.Container, _ *recipe.Container) (preload.Image, sbom.Packages, bool, error) {
	image := preload.Image{Reference: c.Reference, ManifestType: c.Manifest.MediaType}
	var err error
	if image.Manifest, err = b.document(c.Manifest); err != nil {
		return image, nil, false, err
	}
	if image.Config, err = b.document(c.Config); err != nil {
		return image, nil, false, err
	}
	var config v1.Image
	if err := json.Unmarshal(image.Config, &config); err != nil {
		return image, nil, false, fmt.Errorf("read the image's config: %w", err)
	}
	diffIDs := config.RootFS.DiffIDs
	if len(diffIDs) != len(c.Layers) {
		return image, nil, false, fmt.Errorf("%d layers, but %d diff ids in the config", len(c.Layers), len(diffIDs))
	}
	cached := true
	for i, blob := range c.Layers {
		l, hit, err := b.unpacked(ctx, blob, string(diffIDs[i]), fmt.Sprintf("unpack %s layer %d/%d", c.Name, i+1, len(c.Layers)))
		if err != nil {
			return image, nil, false, err
		}
		cached = cached && hit
		image.Layers = append(image.Layers, l)
	}
	return image, nil, cached, nil
}

// document reads a manifest or config, whose digest is that of the image.
func (b *baker) document(blob *lock.Blob) ([]byte, error) {
	data, err := os.ReadFile(b.store.Path(blob.Digest))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); string(got) != blob.Digest {
		err := fmt.Errorf("the cache holds %s as %s", got, blob.Digest)
		return nil, fault.Hint(fault.Mark(fault.Untrusted, err), "remove "+b.store.Path(blob.Digest))
	}
	return data, nil
}

// unpacked is a layer with its tar.
func (b *baker) unpacked(ctx context.Context, blob lock.Blob, diffID, step string) (preload.Layer, bool, error) {
	l := preload.Layer{Digest: blob.Digest, MediaType: blob.MediaType, Size: blob.Size, Path: b.store.Path(blob.Digest), DiffID: diffID,
		Open: func() (io.ReadCloser, error) { return b.store.Open(blob.Digest) }}
	key := b.key("layer", l.Digest, l.DiffID)
	dir, hit := b.store.Stage("layer", key)
	if !hit {
		b.progress.Step("images", step)
		var err error
		dir, err = b.store.PutStage(ctx, "layer", key, func(dir string) error {
			_, err := preload.Unpack(ctx, l, filepath.Join(dir, layerFile))
			return err
		})
		if err != nil {
			return l, false, err
		}
	}
	l.Tar = filepath.Join(dir, layerFile)
	return l, hit, nil
}
