package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

const maxTags = 100_000

// Tags lists the names in the repository (distribution-spec, "Listing Tags"); none where the repository is not there yet.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	at := r.address("tags", "list")
	var list []string
	for range maxPages * 20 {
		raw, header, err := r.small(ctx, call{method: http.MethodGet, url: at})
		if errors.Is(err, artifact.ErrNotFound) {
			return nil, nil
		}
		var page struct{ Tags []string }
		if err == nil {
			err = json.Unmarshal(raw, &page)
		}
		if err != nil {
			return nil, fmt.Errorf("tags of %s: %w", r, r.explain(err))
		}
		for _, tag := range page.Tags {
			if checkReference(tag) == nil {
				list = append(list, tag)
			}
		}
		if len(list) > maxTags {
			break
		}
		if at, err = r.nextPage(at, header); at == nil || err != nil {
			return list, err
		}
	}
	return nil, fault.Mark(fault.Untrusted, fmt.Errorf("tags of %s: more than can be", r))
}

// Delete removes a manifest with all its tags (distribution-spec, "Deleting Manifests"). Blobs are left to the registry's
// own collection. One that is gone already is no error.
func (r *Repository) Delete(ctx context.Context, d digest.Digest) error {
	if _, err := artifact.Hex(d); err != nil {
		return err
	}
	a, err := r.do(ctx, call{method: http.MethodDelete, url: r.address("manifests", d.String())},
		http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound)
	if err != nil {
		if status := (*statusError)(nil); errors.As(err, &status) && status.code == http.StatusMethodNotAllowed {
			err = fault.Hint(err, "the registry does not let anyone delete; its administrator can allow it")
		}
		return fmt.Errorf("delete %s from %s: %w", d, r, r.explain(err))
	}
	drain(a)
	return nil
}
