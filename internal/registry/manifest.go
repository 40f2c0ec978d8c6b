package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"

	maxObjects = 20_000   // JSON objects in one manifest: a megabyte of "{}" would fill far more memory
	maxCache   = 16 << 20 // bytes of manifests kept
)

var accept = strings.Join([]string{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, dockerIndex, dockerManifest}, ", ")

func isIndex(mediaType string) bool {
	return mediaType == v1.MediaTypeImageIndex || mediaType == dockerIndex
}

func isManifest(mediaType string) bool {
	return isIndex(mediaType) || mediaType == v1.MediaTypeImageManifest || mediaType == dockerManifest
}

// Resolve implements artifact.Store. The digest is that of the bytes that came, whatever the registry calls it.
func (r *Repository) Resolve(ctx context.Context, reference string) (v1.Descriptor, error) {
	raw, mediaType, err := r.document(ctx, reference)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("find %s in %s: %w", tameText(reference, 140), r, r.explain(err))
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if want, err := digest.Parse(reference); err == nil && want != d.Digest {
		return v1.Descriptor{}, fmt.Errorf("manifest %s of %s: %w", reference, r, artifact.ErrDigest)
	}
	r.cache.put(d.Digest, raw)
	return d, nil
}

// Manifest implements artifact.Store.
func (r *Repository) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if _, err := artifact.Hex(d.Digest); err != nil {
		return nil, err
	}
	if d.Size > artifact.MaxManifest {
		return nil, fmt.Errorf("manifest %s: %d bytes: %w", d.Digest, d.Size, artifact.ErrDigest)
	}
	raw := r.cache.get(d.Digest)
	if raw == nil {
		var err error
		if raw, _, err = r.document(ctx, d.Digest.String()); err != nil {
			return nil, fmt.Errorf("manifest %s of %s: %w", d.Digest, r, r.explain(err))
		}
	}
	if err := artifact.Check(raw, d); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", r, err)
	}
	r.cache.put(d.Digest, raw)
	return bytes.Clone(raw), nil
}

// document fetches a manifest by tag or digest (distribution-spec, "Pulling manifests").
func (r *Repository) document(ctx context.Context, reference string) ([]byte, string, error) {
	if err := checkReference(reference); err != nil {
		return nil, "", err
	}
	c := call{method: http.MethodGet, url: r.address("manifests", reference), header: map[string]string{"Accept": accept}}
	raw, header, err := r.small(ctx, c)
	if err != nil {
		return nil, "", err
	}
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if isManifest(mediaType) {
		return raw, mediaType, nil
	}
	var said struct{ MediaType string }
	if json.Unmarshal(raw, &said) != nil || !isManifest(said.MediaType) {
		return nil, "", fault.Mark(fault.Input, fmt.Errorf("it is a %s, not a manifest", tameText(mediaType, 100)))
	}
	return raw, said.MediaType, nil
}

var plainReference = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})$`)

// checkReference accepts tags and digests (distribution-spec, "Pulling manifests"), which then are safe within an address.
func checkReference(s string) error {
	if !plainReference.MatchString(s) {
		return fault.Mark(fault.Input, fmt.Errorf("%q is neither a tag nor a sha256 digest", tameText(s, 140)))
	}
	return nil
}

// small fetches an answer of at most artifact.MaxManifest bytes whole.
func (r *Repository) small(ctx context.Context, c call) ([]byte, http.Header, error) {
	for t := r.tries(); ; {
		a, err := r.want(ctx, c, http.StatusOK)
		if err == nil {
			var raw []byte
			if raw, err = readSmall(a); err == nil {
				return raw, a.Header, nil
			}
		}
		if err := t.again(ctx, err); err != nil {
			return nil, nil, err
		}
	}
}

func readSmall(a *http.Response) ([]byte, error) {
	defer a.Body.Close()
	if a.ContentLength > artifact.MaxManifest {
		return nil, fmt.Errorf("the registry sends %d bytes where at most %d are accepted: %w", a.ContentLength, artifact.MaxManifest, artifact.ErrDigest)
	}
	raw, err := io.ReadAll(io.LimitReader(a.Body, artifact.MaxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > artifact.MaxManifest:
		return nil, fmt.Errorf("the registry sends more than the %d bytes that are accepted: %w", artifact.MaxManifest, artifact.ErrDigest)
	case a.ContentLength >= 0 && int64(len(raw)) < a.ContentLength:
		return nil, io.ErrUnexpectedEOF
	case bytes.Count(raw, []byte("{")) > maxObjects:
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("more than %d entries", maxObjects))
	}
	return raw, nil
}

// PutManifest implements artifact.Store (distribution-spec, "Pushing Manifests" and "Pushing Manifests with Subject").
func (r *Repository) PutManifest(ctx context.Context, d v1.Descriptor, raw []byte, tag string) error {
	if err := artifact.Check(raw, d); err != nil {
		return err
	}
	m, err := artifact.Decode(raw, d)
	if err != nil {
		return err
	}
	name := tag
	if name == "" {
		name = d.Digest.String()
	}
	if err := checkReference(name); err != nil {
		return err
	}
	header, err := r.putDocument(ctx, name, d.MediaType, raw)
	if err == nil && m.Subject != nil && header.Get("OCI-Subject") == "" {
		err = r.tagReferrer(ctx, m, d)
	}
	if err != nil {
		return fmt.Errorf("put manifest %s to %s: %w", name, r, r.explain(err))
	}
	r.cache.put(d.Digest, raw)
	return nil
}

func (r *Repository) putDocument(ctx context.Context, name, mediaType string, raw []byte) (http.Header, error) {
	for t := r.tries(); ; {
		a, err := r.want(ctx, call{method: http.MethodPut, url: r.address("manifests", name), header: map[string]string{"Content-Type": mediaType},
			body: bytes.NewReader(raw), size: int64(len(raw))}, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err == nil {
			drain(a)
			return a.Header, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// hasManifest tells whether a manifest is there by its digest.
func (r *Repository) hasManifest(ctx context.Context, d v1.Descriptor) (bool, error) {
	a, err := r.do(ctx, call{method: http.MethodHead, url: r.address("manifests", d.Digest.String()), header: map[string]string{"Accept": accept}},
		http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, fmt.Errorf("look for manifest %s in %s: %w", d.Digest, r, r.explain(err))
	}
	drain(a)
	return a.StatusCode == http.StatusOK && (a.ContentLength < 0 || a.ContentLength == d.Size), nil
}

// manifests keeps what was fetched or put, so that what is checked and what is used come over the wire once.
type manifests struct {
	mu   sync.Mutex
	have map[digest.Digest][]byte
	size int
}

func (m *manifests) get(d digest.Digest) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.have[d]
}

func (m *manifests) put(d digest.Digest, raw []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have[d] != nil {
		return
	}
	if m.size+len(raw) > maxCache || m.have == nil {
		m.have, m.size = map[digest.Digest][]byte{}, 0
	}
	m.have[d] = bytes.Clone(raw)
	m.size += len(raw)
}
