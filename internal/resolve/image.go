package resolve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
)

// maxDocument is the largest index, manifest or config that is read: 4 MiB, as registries allow.
const maxDocument = 4 << 20

const (
	refName = "org.opencontainers.image.ref.name" // OCI image spec, annotations
	title   = "org.opencontainers.image.title"
)

// documents gives the bytes of an index, manifest or config by its digest, verified, and keeps them in the store.
type documents func(ctx context.Context, d v1.Descriptor) ([]byte, error)

// localReference is the name docker shows for an image that has none of its own.
func localReference(container string) string { return "localhost/" + container + ":latest" }

// dockerName writes a reference as docker does.
func dockerName(ref name.Reference) string {
	return strings.Replace(ref.Name(), "index.docker.io/", "docker.io/", 1)
}

// choose follows an index down to the one manifest for linux/amd64. A tag selects by the ref.name annotation.
func choose(ctx context.Context, index []byte, tag string, get documents) (v1.Descriptor, error) {
	found, others, err := candidates(ctx, index, tag, get, 0)
	if err != nil {
		return v1.Descriptor{}, err
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return v1.Descriptor{}, inputf("it holds %d images for linux/amd64; name one by its tag", len(found))
	case len(others) > 0:
		return v1.Descriptor{}, inputf("it holds no image for linux/amd64, only for %s", strings.Join(others, ", "))
	case tag != "":
		return v1.Descriptor{}, inputf("it holds no image with the tag %q", tag)
	}
	return v1.Descriptor{}, inputf("it holds no image")
}

func inputf(format string, args ...any) error {
	return fault.Mark(fault.Input, fmt.Errorf(format, args...))
}

func candidates(ctx context.Context, raw []byte, tag string, get documents, depth int) (found []v1.Descriptor, others []string, err error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, inputf("index: %w", err)
	}
	if depth > 3 || len(index.Manifests) > 1000 {
		return nil, nil, inputf("index: too deep or too large")
	}
	seen := map[v1.Hash]bool{} // one image may stand there under several tags
	for _, d := range index.Manifests {
		if seen[d.Digest] || tag != "" && !tagged(d, tag) {
			continue
		}
		seen[d.Digest] = true
		switch {
		case d.Platform != nil && (d.Platform.OS != "linux" || d.Platform.Architecture != "amd64"):
			if d.Platform.OS != "unknown" { // attestations
				others = append(others, d.Platform.String())
			}
		case d.MediaType.IsIndex():
			raw, err := get(ctx, d)
			if err != nil {
				return nil, nil, err
			}
			f, o, err := candidates(ctx, raw, "", get, depth+1)
			if err != nil {
				return nil, nil, err
			}
			for _, inner := range f {
				inner.Annotations = inherit(inner.Annotations, d.Annotations)
				found = append(found, inner)
			}
			others = append(others, o...)
		case d.MediaType.IsImage():
			found = append(found, d)
		}
	}
	return found, others, nil
}

// inherit gives a manifest the annotations of the index around it, which often holds the image's name.
func inherit(own, outer map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, outer)
	maps.Copy(all, own)
	return all
}

// tagged compares a tag with the annotation, which holds the tag alone or a whole reference.
func tagged(d v1.Descriptor, tag string) bool {
	n := d.Annotations[refName]
	return n == tag || strings.HasSuffix(n, ":"+tag)
}

// pinManifest describes the image behind a manifest, and checks what it is made for.
func pinManifest(ctx context.Context, d v1.Descriptor, get documents) (lock.Container, error) {
	var c lock.Container
	raw, err := get(ctx, d)
	if err != nil {
		return c, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return c, inputf("manifest: %w", err)
	}
	if !m.Config.MediaType.IsConfig() {
		return c, inputf("manifest %s: not of an image that can run, but of %s", d.Digest, m.Config.MediaType)
	}
	for _, b := range append(m.Layers, m.Config) {
		if b.Size < 0 || b.Digest.Algorithm != "sha256" {
			return c, inputf("manifest %s: blob %s of %d bytes: malformed", d.Digest, b.Digest, b.Size)
		}
	}
	config, err := get(ctx, m.Config)
	if err != nil {
		return c, err
	}
	if err := checkConfig(config, len(m.Layers)); err != nil {
		return c, err
	}
	mediaType := m.MediaType
	if mediaType == "" {
		mediaType = d.MediaType
	}
	c.Manifest = &lock.Blob{MediaType: string(mediaType), Digest: d.Digest.String(), Size: int64(len(raw))}
	c.Config = blob(m.Config)
	for _, l := range m.Layers {
		if !l.MediaType.IsLayer() || len(l.URLs) > 0 || !l.MediaType.IsDistributable() {
			return c, inputf("layer %s: media type %s cannot be used", l.Digest, l.MediaType)
		}
		c.Layers = append(c.Layers, *blob(l))
	}
	return c, nil
}

func blob(d v1.Descriptor) *lock.Blob {
	return &lock.Blob{MediaType: string(d.MediaType), Digest: d.Digest.String(), Size: d.Size}
}

// checkConfig refuses an image that cannot run here.
func checkConfig(raw []byte, layers int) error {
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return inputf("image config: %w", err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" {
		return inputf("the image is for %s/%s; the appliance needs linux/amd64", config.OS, config.Architecture)
	}
	if len(config.RootFS.DiffIDs) != layers {
		return inputf("the image has %d layers, and its config names %d", layers, len(config.RootFS.DiffIDs))
	}
	return nil
}

// stored reads a document that is in the store.
func (v *resolver) stored(_ context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Digest.Algorithm != "sha256" {
		return nil, inputf("digest %s: only sha256 is known", d.Digest)
	}
	f, err := v.Store.Open(d.Digest.Hex)
	if errors.Is(err, os.ErrNotExist) {
		return nil, inputf("blob %s is missing", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(raw) > maxDocument || d.Size > 0 && int64(len(raw)) != d.Size {
		return nil, inputf("document %s: larger than 4 MiB, or not of its declared size", d.Digest)
	}
	return raw, nil
}

// ociManifest writes the canonical manifest of an image that has none (OCI image spec, manifest.md).
func ociManifest(config v1.Descriptor, layers []v1.Descriptor) ([]byte, error) {
	return json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers})
}
