package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/atomicfile"
)

// ImageSpec describes an image to be written as a layout.
type ImageSpec struct {
	Name         string // title; the layout's reference name is Version
	Version      string
	Layers       []LayerFile // the lowest first
	Config       v1.ImageConfig
	Architecture string // "" means amd64
	Created      int64  // seconds since 1970
	Annotations  map[string]string
}

// LayerFile is a layer on disk.
type LayerFile struct {
	Path      string
	DiffID    string // digest of the uncompressed tar
	Digest    string // digest of the file at Path; "" means DiffID: the file is the uncompressed tar
	Size      int64  // bytes of the file; 0 means whatever it has
	MediaType string // "" means v1.MediaTypeImageLayer
	Comment   string // for the history
}

// WriteImage writes the image of spec as an OCI layout (image-spec, image-layout.md) into the new folder dir and
// returns the descriptor of its manifest. Layer files are hard-linked into the layout where the file systems allow
// it and copied where not, so they must not be changed afterwards. Their digests are taken from spec. The folder
// appears complete or not at all; one that exists is an error.
func WriteImage(ctx context.Context, dir string, spec ImageSpec) (v1.Descriptor, error) {
	if _, err := os.Lstat(dir); err == nil {
		return v1.Descriptor{}, fmt.Errorf("write image %s: %w", dir, os.ErrExist)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".partial-*")
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("write image %s: %w", dir, err)
	}
	defer os.RemoveAll(temp)
	d, err := writeLayout(ctx, temp, spec)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("write image %s: %w", dir, err)
	}
	if err := errors.Join(ctx.Err(), os.Chmod(temp, 0o755)); err != nil {
		return v1.Descriptor{}, fmt.Errorf("write image %s: %w", dir, err)
	}
	if err := os.Rename(temp, dir); err != nil {
		return v1.Descriptor{}, fmt.Errorf("write image %s: %w", dir, err)
	}
	return d, atomicfile.SyncDir(filepath.Dir(dir))
}

func writeLayout(ctx context.Context, dir string, spec ImageSpec) (v1.Descriptor, error) {
	l := layout{dir}
	if err := os.MkdirAll(l.blobs(), 0o755); err != nil {
		return v1.Descriptor{}, err
	}
	arch := spec.Architecture
	if arch == "" {
		arch = "amd64"
	}
	created := Time(spec.Created)
	config := v1.Image{
		Created: created, Platform: v1.Platform{Architecture: arch, OS: "linux"}, Config: spec.Config,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	for _, f := range spec.Layers {
		d, err := l.layer(ctx, f)
		if err != nil {
			return v1.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(f.DiffID))
		config.History = append(config.History, v1.History{Created: created, CreatedBy: "agibake", Comment: f.Comment})
	}
	manifest.Annotations = map[string]string{
		v1.AnnotationCreated: created.Format(time.RFC3339), v1.AnnotationTitle: spec.Name, v1.AnnotationVersion: spec.Version,
	}
	maps.Copy(manifest.Annotations, spec.Annotations)
	var err error
	if manifest.Config, err = l.json(v1.MediaTypeImageConfig, config); err != nil {
		return v1.Descriptor{}, err
	}
	d, err := l.json(v1.MediaTypeImageManifest, manifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return d, l.index(d, config.Platform, spec)
}

// layout is a folder that becomes an OCI layout.
type layout struct{ dir string }

func (l layout) blobs() string { return filepath.Join(l.dir, "blobs", "sha256") }

func (l layout) index(d v1.Descriptor, p v1.Platform, spec ImageSpec) error {
	d.Platform = &p
	d.Annotations = map[string]string{v1.AnnotationRefName: spec.Version, v1.AnnotationTitle: spec.Name}
	data, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}})
	if err != nil {
		return err
	}
	return errors.Join(
		atomicfile.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644),
		atomicfile.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		atomicfile.SyncDir(l.blobs()))
}

func (l layout) json(mediaType string, value any) (v1.Descriptor, error) {
	data, d, err := Encode(mediaType, value)
	if err != nil {
		return d, err
	}
	name, err := Hex(d.Digest)
	if err != nil {
		return d, err
	}
	return d, atomicfile.WriteFile(filepath.Join(l.blobs(), name), data, 0o644)
}

func (l layout) layer(ctx context.Context, f LayerFile) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: f.MediaType, Digest: digest.Digest(f.Digest)}
	if d.MediaType == "" {
		d.MediaType = v1.MediaTypeImageLayer
	}
	if d.Digest == "" {
		d.Digest = digest.Digest(f.DiffID)
	}
	if _, err := Hex(digest.Digest(f.DiffID)); err != nil {
		return d, fmt.Errorf("layer %s: %w", f.Path, err)
	}
	name, err := Hex(d.Digest)
	if err != nil {
		return d, fmt.Errorf("layer %s: %w", f.Path, err)
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return d, fmt.Errorf("layer: %w", err)
	}
	if d.Size = info.Size(); f.Size != 0 && f.Size != d.Size {
		return d, fmt.Errorf("layer %s: %d bytes, not %d", f.Path, d.Size, f.Size)
	}
	return d, link(ctx, f.Path, filepath.Join(l.blobs(), name))
}
