// Package inputs keeps the pinned inputs of a lock (packages, images, models, files) as one OCI artifact, so that an
// appliance can be baked again when the archives that they came from are gone. docs/formats.md describes it.
package inputs

import (
	"context"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
)

// Tag names the inputs of the appliance with an index of that digest. It is no referrer, so that a pull of the appliance
// does not bring them along.
func Tag(index digest.Digest) string {
	return artifact.TagOf(index, ".inputs")
}

// Layout makes an OCI layout in the new folder dir whose one artifact is the inputs of l, and returns its manifest. Their
// bytes stay in the cache, which must have them all. Equal locks give equal manifests.
func Layout(ctx context.Context, dir string, l *lock.Lock, store *cas.Store) (*artifact.Layout, v1.Descriptor, error) {
	layout, err := artifact.CreateLayout(dir)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	var layers []v1.Descriptor
	for _, in := range lock.Inputs(l) {
		if !store.Has(in.SHA256, in.Size) {
			err := fmt.Errorf("%s is not in the cache", in.Title)
			return nil, v1.Descriptor{}, fault.Hint(fault.Mark(fault.Input, err), "agibake bake brings the inputs of its recipe there")
		}
		if in.Size == 0 {
			continue
		}
		parts, err := parts(ctx, in, store.Path(in.SHA256))
		if err != nil {
			return nil, v1.Descriptor{}, fmt.Errorf("%s: %w", in.Title, err)
		}
		offset := int64(0)
		for _, d := range parts {
			layout.Provide(d, store.Path(in.SHA256), offset)
			offset += d.Size
		}
		layers = append(layers, parts...)
	}
	d, err := layout.PutArtifact(ctx, artifact.TypeInputs, layers)
	return layout, d, err
}

// parts describes the blobs of an input: one, or several of artifact.PartSize bytes.
func parts(ctx context.Context, in lock.Input, path string) ([]v1.Descriptor, error) {
	sums := artifact.Sums{Size: in.Size, SHA256: in.SHA256, Parts: []artifact.Part{{Size: in.Size, SHA256: in.SHA256}}}
	if in.Size > artifact.PartSize {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if sums, err = artifact.SumFile(ctx, f, 0); err != nil {
			return nil, err
		}
		if sums.SHA256 != in.SHA256 {
			return nil, fmt.Errorf("the cache holds something else: %w", artifact.ErrDigest)
		}
	}
	var list []v1.Descriptor
	for i, p := range sums.Parts {
		list = append(list, v1.Descriptor{MediaType: artifact.TypeInput, Digest: digest.NewDigestFromEncoded(digest.SHA256, p.SHA256), Size: p.Size,
			Annotations: map[string]string{v1.AnnotationTitle: artifact.PartName(in.SHA256, i, len(sums.Parts)), artifact.AnnotationInput: in.Title}})
	}
	return list, nil
}
