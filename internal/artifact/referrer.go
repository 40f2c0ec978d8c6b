package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// emptyConfig stands where a manifest has no config (image-spec, manifest.md, "Guidance for an Empty Descriptor").
var emptyConfig = descriptorOf(v1.MediaTypeEmptyJSON, []byte("{}"))

func emptyJSON() io.Reader { return strings.NewReader("{}") }

// descriptorOf returns the descriptor of data.
func descriptorOf(mediaType string, data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// Referrer is one document about a manifest.
type Referrer struct {
	Type        string // artifactType, and media type of the document
	Title       string // file name
	Data        []byte
	Annotations map[string]string // of the manifest
}

// PutReferrer stores r as a referrer of subject and returns the descriptor of its manifest.
func PutReferrer(ctx context.Context, s interface {
	PutBlob(context.Context, v1.Descriptor, io.Reader) error
	PutManifest(ctx context.Context, d v1.Descriptor, raw []byte, tag string) error
}, subject v1.Descriptor, r Referrer) (v1.Descriptor, error) {
	blob := descriptorOf(r.Type, r.Data)
	blob.Annotations = map[string]string{v1.AnnotationTitle: r.Title}
	raw, d, err := Encode(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: r.Type,
		Config: emptyConfig, Layers: []v1.Descriptor{blob}, Annotations: r.Annotations,
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	})
	if err == nil {
		err = s.PutBlob(ctx, emptyConfig, emptyJSON())
	}
	if err == nil {
		err = s.PutBlob(ctx, blob, bytes.NewReader(r.Data))
	}
	d.ArtifactType = r.Type
	if err == nil {
		err = s.PutManifest(ctx, d, raw, "")
	}
	if err != nil {
		return d, fmt.Errorf("write %s: %w", r.Title, err)
	}
	return d, nil
}

// FindReferrer returns the manifest of the one referrer of subject that has a type. None is ErrNotFound. Several are an
// error of kind Untrusted: nothing here says which one is meant.
func FindReferrer(ctx context.Context, s interface {
	Referrers(context.Context, digest.Digest) ([]v1.Descriptor, error)
}, subject digest.Digest, kind string) (v1.Descriptor, error) {
	all, err := s.Referrers(ctx, subject)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var found []v1.Descriptor
	for _, d := range all {
		if d.ArtifactType == kind {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return v1.Descriptor{}, fmt.Errorf("%s of %s: %w", kind, subject, ErrNotFound)
	case 1:
		return found[0], nil
	}
	err = fmt.Errorf("%d different %s of %s", len(found), kind, subject)
	return v1.Descriptor{}, fault.Hint(fault.Mark(fault.Untrusted, err), "somebody added one; a signature tells which one belongs to the appliance")
}

// ReadReferrer returns the document in the referrer whose manifest is d: it must be about subject, have the type, and at
// most limit bytes. Digests are checked. Errors are ErrDigest, ErrNotFound or of kind Untrusted.
func ReadReferrer(ctx context.Context, s Reader, d v1.Descriptor, subject digest.Digest, kind string, limit int64) ([]byte, error) {
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := Decode(raw, d)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != kind || m.Subject == nil || m.Subject.Digest != subject || len(m.Layers) != 1 || m.Layers[0].MediaType != kind {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("referrer %s: it is no %s of %s", d.Digest, kind, subject))
	}
	return ReadBlob(ctx, s, m.Layers[0], limit)
}
