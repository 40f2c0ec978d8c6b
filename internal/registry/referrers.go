package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

const (
	maxPages     = 50
	maxReferrers = 500
)

// Referrers implements artifact.Store: by the API, or by the tag where a registry has none (distribution-spec,
// "Listing Referrers" and "Referrers Tag Schema"). A list is no more than a hint: what cannot be a manifest, is gone, or
// has another subject is left out, and types and annotations are those of the manifests themselves.
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error) {
	if _, err := artifact.Hex(subject); err != nil {
		return nil, err
	}
	found, ok, err := []v1.Descriptor(nil), false, error(nil)
	if !r.noReferrers.Load() {
		found, ok, err = r.referrersByAPI(ctx, subject)
	}
	if err == nil && !ok {
		r.noReferrers.Store(true)
		var x *v1.Index
		if x, err = r.fallback(ctx, subject); err == nil {
			found = x.Manifests
		}
	}
	if err != nil {
		return nil, fmt.Errorf("referrers of %s in %s: %w", subject, r, r.explain(err))
	}
	if len(found) > maxReferrers {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("referrers of %s in %s: more than %d", subject, r, maxReferrers))
	}
	var list []v1.Descriptor
	for _, d := range found {
		if slices.ContainsFunc(list, func(o v1.Descriptor) bool { return o.Digest == d.Digest }) {
			continue
		}
		d, ok, err := r.referrer(ctx, d, subject)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, d)
		}
	}
	return list, nil
}

// referrer reads an entry's manifest; ok is false where it does not belong to subject.
func (r *Repository) referrer(ctx context.Context, d v1.Descriptor, subject digest.Digest) (_ v1.Descriptor, ok bool, err error) {
	if _, err := artifact.Hex(d.Digest); err != nil || d.Size <= 0 || d.Size > artifact.MaxManifest || !isManifest(d.MediaType) {
		return d, false, nil
	}
	raw, err := r.Manifest(ctx, d)
	if errors.Is(err, artifact.ErrNotFound) {
		return d, false, nil
	}
	if err != nil {
		return d, false, err
	}
	m, err := artifact.Decode(raw, d)
	if err != nil || m.Subject == nil || m.Subject.Digest != subject {
		return d, false, err
	}
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}, true, nil
}

// referrersByAPI asks the registry, page after page; ok is false where it has no such API.
func (r *Repository) referrersByAPI(ctx context.Context, subject digest.Digest) (found []v1.Descriptor, ok bool, err error) {
	at := r.address("referrers", subject.String())
	for range maxPages {
		raw, header, err := r.small(ctx, call{method: http.MethodGet, url: at, header: map[string]string{"Accept": v1.MediaTypeImageIndex}})
		if status := (*statusError)(nil); errors.As(err, &status) && len(found) == 0 &&
			slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotImplemented}, status.code) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		var x v1.Index
		if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind != v1.MediaTypeImageIndex || json.Unmarshal(raw, &x) != nil {
			return nil, false, nil // some answer everything with a page of theirs
		}
		if found = append(found, x.Manifests...); len(found) > maxReferrers {
			return found, true, nil
		}
		if at, err = r.nextPage(at, header); at == nil || err != nil {
			return found, err == nil, err
		}
	}
	return nil, false, fault.Mark(fault.Untrusted, fmt.Errorf("the list has more than %d pages", maxPages))
}

// nextPage returns where a list goes on, nil at its end.
func (r *Repository) nextPage(at *url.URL, header http.Header) (*url.URL, error) {
	next := nextLink(header.Values("Link"))
	if next == "" {
		return nil, nil
	}
	to, err := at.Parse(next)
	if err != nil || to.Host != r.base.Host || to.Scheme != r.base.Scheme {
		return nil, fault.Mark(fault.Untrusted, errors.New("the list goes on at another server"))
	}
	return &url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path, RawQuery: to.RawQuery}, nil
}

// nextLink returns the target of rel=next, "" if there is none (RFC 8288, section 3).
func nextLink(headers []string) string {
	for _, h := range headers {
		for {
			_, rest, ok := strings.Cut(h, "<")
			target, rest, ok2 := strings.Cut(rest, ">")
			if !ok || !ok2 {
				break
			}
			params, more, _ := strings.Cut(rest, ",")
			for p := range strings.SplitSeq(params, ";") {
				key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(strings.TrimSpace(key), "rel") && slices.Contains(strings.Fields(strings.Trim(value, `" `)), "next") {
					return target
				}
			}
			h = more
		}
	}
	return ""
}
