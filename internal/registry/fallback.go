package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
)

func fallbackTag(d digest.Digest) string { return artifact.TagOf(d, "") }

// fallback reads the index under the tag of subject; it is empty where there is none.
func (r *Repository) fallback(ctx context.Context, subject digest.Digest) (*v1.Index, error) {
	x := &v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	raw, mediaType, err := r.document(ctx, fallbackTag(subject))
	if errors.Is(err, artifact.ErrNotFound) {
		return x, nil
	}
	if err == nil && mediaType != v1.MediaTypeImageIndex {
		err = fmt.Errorf("tag %s is a %s", fallbackTag(subject), mediaType)
	}
	if err == nil {
		err = json.Unmarshal(raw, x)
	}
	return x, err
}

// tagReferrer enters a manifest under the tag of its subject. The tag has no lock: another writer may have read it
// before and write it after, so it is looked at again.
func (r *Repository) tagReferrer(ctx context.Context, m *artifact.Document, d v1.Descriptor) error {
	subject := m.Subject.Digest
	if _, err := artifact.Hex(subject); err != nil {
		return err
	}
	r.tagging.Lock()
	defer r.tagging.Unlock()
	d = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	for wrote := 0; ; wrote++ {
		x, err := r.fallback(ctx, subject)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(x.Manifests, func(o v1.Descriptor) bool { return o.Digest == d.Digest }) {
			return nil
		}
		if wrote == maxTries {
			return fmt.Errorf("tag %s: others keep overwriting it", fallbackTag(subject))
		}
		if wrote > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(rand.N(r.o.Pause) << wrote):
			}
		}
		x.Manifests = append(x.Manifests, d)
		raw, _, err := artifact.Encode(v1.MediaTypeImageIndex, x)
		if err == nil {
			_, err = r.putDocument(ctx, fallbackTag(subject), v1.MediaTypeImageIndex, raw)
		}
		if err != nil {
			return err
		}
	}
}
