package resolve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// cutSource splits a container's source in the lock.
func cutSource(s string) (scheme, at string) {
	scheme, at, _ = strings.Cut(s, ":")
	return scheme, at
}

// layoutBlob is where a layout holds a blob (OCI image layout spec).
func layoutBlob(folder, digest string) string {
	return filepath.Join(folder, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// layoutManifest finds the manifest for linux/amd64 in a layout.
func (v *resolver) layoutManifest(ctx context.Context, folder, tag string) (v1.Descriptor, documents, error) {
	index, err := readSmall(filepath.Join(v.local(folder), "index.json"))
	if err != nil {
		return v1.Descriptor{}, nil, fault.Mark(fault.Input, fmt.Errorf("OCI layout %s: %w", folder, err))
	}
	get := func(ctx context.Context, d v1.Descriptor) ([]byte, error) {
		if d.Digest.Algorithm != "sha256" {
			return nil, inputf("digest %s: only sha256 is known", d.Digest)
		}
		// The file is read anew each time: a cached copy must not hide that the layout lost or changed it.
		got, _, err := v.Store.Import(ctx, layoutBlob(v.local(folder), d.Digest.Hex), nil)
		if err != nil {
			return nil, err
		}
		if got != d.Digest.Hex {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("OCI layout %s: blob %s holds sha256:%s", folder, d.Digest, got))
		}
		return v.stored(ctx, d)
	}
	d, err := choose(ctx, index, tag, get)
	return d, get, err
}

// imageLayout pins an image of an OCI layout.
func (v *resolver) imageLayout(ctx context.Context, c recipe.Container) (lock.Container, error) {
	folder, tag := lock.SplitLayout(c.Image.Layout)
	d, get, err := v.layoutManifest(ctx, folder, tag)
	if err != nil {
		return lock.Container{}, fmt.Errorf("layout %s: %w", c.Image.Layout, err)
	}
	pinned, err := pinManifest(ctx, d, get)
	if err != nil {
		return pinned, fmt.Errorf("layout %s: %w", c.Image.Layout, err)
	}
	for _, l := range pinned.Layers {
		if info, err := os.Stat(layoutBlob(v.local(folder), l.Digest)); err != nil || info.Size() != l.Size {
			return pinned, inputf("layout %s: layer %s is missing or has another size", c.Image.Layout, l.Digest)
		}
	}
	pinned.Name, pinned.Reference, pinned.Source = c.Name, annotated(d, c.Name), "layout:"+v.movable(folder)
	return pinned, nil
}

// annotated is the whole reference in the ref.name annotation, or a local one.
func annotated(d v1.Descriptor, container string) string {
	for _, key := range []string{"io.containerd.image.name", refName} {
		if ref, err := name.NewTag(d.Annotations[key]); err == nil && strings.ContainsAny(d.Annotations[key], ":/") {
			return dockerName(ref)
		}
	}
	return localReference(container)
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("%s is larger than 4 MiB", path)
	}
	return raw, errors.Join(err, f.Close())
}

// pinOCI pins a model that is one blob of an artifact: FOLDER[:TAG] of a layout, or //REFERENCE of a registry.
func (v *resolver) pinOCI(ctx context.Context, f *lock.File, rest string) error {
	if reference, ok := strings.CutPrefix(rest, "//"); ok {
		return v.pinRemote(ctx, f, reference)
	}
	folder, tag := lock.SplitLayout(rest)
	d, get, err := v.layoutManifest(ctx, folder, tag)
	if err != nil {
		return err
	}
	f.Source = "oci:" + v.movable(folder)
	return pinArtifact(ctx, f, d, get)
}

func (v *resolver) pinRemote(ctx context.Context, f *lock.File, reference string) error {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return fault.Mark(fault.Input, err)
	}
	if v.Offline {
		return fault.Hint(ErrOffline, "run agibake lock once with the network")
	}
	d, get, err := v.remoteManifest(ctx, ref)
	if err != nil {
		return err
	}
	f.Source = "oci://" + ref.Context().Name()
	return pinArtifact(ctx, f, d, get)
}
