package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/sign"
	"github.com/agibake/agibake/internal/state"
	"github.com/agibake/agibake/internal/trust"
)

// bound is a snapshot that baselines belong to.
type bound struct {
	m       *minds
	x       *state.Snapshot
	policy  *trust.Policy  // nil where nobody demands signatures
	verdict *trust.Verdict // of the snapshot
}

// bound finds the snapshot, and verifies it as restore does. It is read whole if it is sealed, or if whole says so.
func (a *app) bound(ctx context.Context, c *cobra.Command, at *registryFlags, keys *keyFlags, signed *trustFlags, reference string, whole bool) (*bound, error) {
	m, x, err := at.look(ctx, reference)
	if err != nil {
		return nil, err
	}
	s := &bound{m: m, x: x}
	if s.verdict, err = a.judgeState(ctx, c, m, signed, s.x); err != nil {
		return nil, err
	}
	if s.verdict != nil {
		if s.policy, err = signed.load(c); err != nil {
			return nil, err
		}
	}
	if whole || s.x.Seal != nil {
		s.x, err = state.Read(ctx, m, x.Index, a.opener(m, keys))
	}
	return s, err
}

// kind is the type of the snapshot's baselines. Beside a sealed snapshot only sealed ones count: nobody without its secret
// can make one.
func (s *bound) kind() string {
	if s.x.Seal != nil {
		return fidelity.MediaType + "+age"
	}
	return fidelity.MediaType
}

// put stores a baseline beside the snapshot, sealed as it is, and signs it where there is a key.
func (s *bound) put(ctx context.Context, b *fidelity.Baseline, data []byte, key *sign.Key) (v1.Descriptor, error) {
	if s.m.layout != nil {
		done, err := s.m.layout.Use(ctx)
		if err != nil {
			return v1.Descriptor{}, err
		}
		defer done()
	}
	title := "fidelity.json"
	if s.x.Seal != nil {
		var sealed bytes.Buffer
		w, err := s.x.Seal.Secret.Encrypt(&sealed)
		if err == nil {
			_, err = w.Write(data)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return v1.Descriptor{}, fmt.Errorf("seal the baseline: %w", err)
		}
		data, title = sealed.Bytes(), title+".age"
	}
	d, err := artifact.PutReferrer(ctx, s.m, s.x.Index, artifact.Referrer{Type: s.kind(), Title: title, Data: data,
		Annotations: map[string]string{v1.AnnotationCreated: b.Recorded.Format(time.RFC3339)}})
	if err != nil || key == nil {
		return d, err
	}
	about := trust.Subject{Index: d, Name: "fidelity", Version: state.TimeTag(b.Recorded), Created: b.Recorded}
	_, err = trust.Sign(ctx, s.m, about, key, trust.SignOptions{Forms: []string{trust.Bundle}})
	return d, err
}
