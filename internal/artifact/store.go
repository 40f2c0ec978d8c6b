package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// MaxManifest is the most bytes that a manifest or index may have (design, section 8).
const MaxManifest = 4 << 20

// ErrNotFound says that a store holds no such tag, manifest or blob. Its kind is fault.Input.
var ErrNotFound = fault.Mark(fault.Input, errors.New("not found"))

// ErrDigest says that bytes are not what their descriptor promises. Its kind is fault.Untrusted.
var ErrDigest = fault.Mark(fault.Untrusted, errors.New("digest or size does not hold"))

// Store holds manifests and blobs by their digest, and names for some of them: a Layout, or a repository of a
// registry. Whoever reads declares the part of it that it uses.
type Store interface {
	// Resolve returns the descriptor of the manifest that a tag or a digest names, ErrNotFound if there is none.
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
	// Manifest returns the manifest or index of d, its size and digest checked: ErrDigest.
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Blob opens d at offset, in bytes. Its bytes are not checked yet: Verified does.
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	// Referrers lists the manifests whose subject is the given one, with their artifactType and annotations.
	Referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error)
	// Has tells whether the blob of d is there.
	Has(ctx context.Context, d v1.Descriptor) (bool, error)
	// PutBlob stores what r holds, which must be d: ErrDigest.
	PutBlob(ctx context.Context, d v1.Descriptor, r io.Reader) error
	// PutManifest stores raw, which must be d, and lets tag name it if it is not "". What raw's subject names is
	// found by Referrers afterwards.
	PutManifest(ctx context.Context, d v1.Descriptor, raw []byte, tag string) error
}

// ReadBlob returns a small blob of s whole, its size and digest checked. A blob of more than limit bytes is refused.
func ReadBlob(ctx context.Context, s interface {
	Blob(context.Context, v1.Descriptor, int64) (io.ReadCloser, error)
}, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, at most %d are accepted: %w", d.Digest, d.Size, limit, ErrDigest)
	}
	r, err := s.Blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v, err := Verified(r, d)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(v)
}

// Check compares data with d: ErrDigest.
func Check(data []byte, d v1.Descriptor) error {
	if _, err := Hex(d.Digest); err != nil {
		return err
	}
	if int64(len(data)) != d.Size || digest.FromBytes(data) != d.Digest {
		return fmt.Errorf("%s: %w", d.Digest, ErrDigest)
	}
	return nil
}

// Verified passes r's bytes on and ends in io.EOF only when they were all of d and nothing more: ErrDigest. Memory
// stays small and no byte beyond d.Size is passed on.
func Verified(r io.Reader, d v1.Descriptor) (io.Reader, error) {
	if _, err := Hex(d.Digest); err != nil {
		return nil, err
	}
	if d.Size < 0 {
		return nil, fmt.Errorf("blob %s: %d bytes: %w", d.Digest, d.Size, ErrDigest)
	}
	return &verified{r: r, d: d, left: d.Size, sum: d.Digest.Algorithm().Digester()}, nil
}

type verified struct {
	r    io.Reader
	d    v1.Descriptor
	left int64
	sum  digest.Digester
}

func (v *verified) Read(p []byte) (int, error) {
	if v.left == 0 {
		return 0, v.end()
	}
	n, err := v.r.Read(p[:min(int64(len(p)), v.left)])
	v.sum.Hash().Write(p[:n])
	v.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && v.left > 0:
		return n, fmt.Errorf("blob %s: it ends %d bytes early: %w", v.d.Digest, v.left, ErrDigest)
	case errors.Is(err, io.EOF):
		return n, nil // the next Read judges
	}
	return n, err
}

// end judges what was read, once nothing is left to read.
func (v *verified) end() error {
	if n, _ := io.ReadFull(v.r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("blob %s: it goes on after %d bytes: %w", v.d.Digest, v.d.Size, ErrDigest)
	}
	if v.sum.Digest() != v.d.Digest {
		return fmt.Errorf("blob %s: %w", v.d.Digest, ErrDigest)
	}
	return io.EOF
}

// Document is what manifests and indexes have in common (image-spec, manifest.md and image-index.md).
type Document struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// Decode reads a manifest or an index. Where its own mediaType contradicts its descriptor's it is refused, so that the
// same bytes never mean two things (CVE-2021-41190).
func Decode(raw []byte, d v1.Descriptor) (*Document, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("manifest %s: more than %d bytes: %w", d.Digest, MaxManifest, ErrDigest)
	}
	var m Document
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("manifest %s: %w", d.Digest, err))
	}
	index := d.MediaType == v1.MediaTypeImageIndex || d.MediaType == dockerIndex
	if m.MediaType != "" && m.MediaType != d.MediaType || index && (m.Config != nil || m.Layers != nil) || !index && m.Manifests != nil {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("manifest %s: it is not the %s that its descriptor says", d.Digest, d.MediaType))
	}
	if m.ArtifactType == "" && m.Config != nil {
		m.ArtifactType = m.Config.MediaType // distribution-spec, "Listing Referrers"
	}
	return &m, nil
}

const dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
