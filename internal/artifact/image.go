package artifact

import (
	"context"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImageSpec describes an image.
type ImageSpec struct {
	Name         string // title
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

// WriteImage adds the blobs of an image to the layout and returns the descriptor of its manifest, with its platform.
// index.json does not list it yet: see List. Layer files are linked as Link does it; their digests are taken from spec.
func (l *Layout) WriteImage(ctx context.Context, spec ImageSpec) (v1.Descriptor, error) {
	d, err := l.writeImage(ctx, spec)
	if err != nil {
		return d, fmt.Errorf("write image %s: %w", spec.Name, err)
	}
	return d, nil
}

func (l *Layout) writeImage(ctx context.Context, spec ImageSpec) (v1.Descriptor, error) {
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
	if manifest.Config, err = l.putJSON(ctx, v1.MediaTypeImageConfig, config); err != nil {
		return v1.Descriptor{}, err
	}
	d, err := l.putJSON(ctx, v1.MediaTypeImageManifest, manifest)
	d.Platform = &config.Platform
	return d, err
}

func (l *Layout) layer(ctx context.Context, f LayerFile) (v1.Descriptor, error) {
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
	info, err := os.Stat(f.Path)
	if err != nil {
		return d, fmt.Errorf("layer: %w", err)
	}
	if d.Size = info.Size(); f.Size != 0 && f.Size != d.Size {
		return d, fmt.Errorf("layer %s: %d bytes, not %d", f.Path, d.Size, f.Size)
	}
	return d, l.Link(ctx, d, f.Path)
}
