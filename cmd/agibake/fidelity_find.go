package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/trust"
)

// Limits on what is read of baselines that anybody may have put beside a snapshot.
const (
	maxStored = 17 << 20 // bytes: a baseline has 16 MiB, and sealing adds a little
	maxTried  = 32       // baselines whose signature is looked at
)

// baseline returns the newest baseline that counts: where signatures are demanded it must have one of its own, since that
// of the snapshot does not cover what was put beside it later. warn is told of newer ones that do not count.
func (s *bound) baseline(ctx context.Context, warn func(string)) (*fidelity.Baseline, v1.Descriptor, error) {
	list, err := s.baselines(ctx)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	var refused error
	for i, d := range list {
		if i == maxTried {
			break
		}
		if err := s.trusted(ctx, d); fault.KindOf(err) == fault.Untrusted {
			refused = cmp.Or(refused, err)
			continue
		} else if err != nil {
			return nil, d, err
		}
		if refused != nil {
			warn(fmt.Sprintf("%d newer baselines do not count: %v", i, refused))
		}
		b, err := s.open(ctx, d)
		if err != nil {
			return nil, d, fmt.Errorf("baseline %s: %w", d.Digest, err)
		}
		return b, d, nil
	}
	if refused != nil {
		err := fmt.Errorf("no baseline of snapshot %s counts: %w", s.x.Index.Digest, refused)
		return nil, v1.Descriptor{}, fault.Hint(err, "agibake fidelity record --sign-key signs the one that it makes; --insecure-skip-verify uses any")
	}
	err = fmt.Errorf("baseline of snapshot %s: %w", s.x.Index.Digest, artifact.ErrNotFound)
	return nil, v1.Descriptor{}, fault.Hint(err, "agibake fidelity record --snapshot makes one, where the mind runs that was captured")
}

// baselines lists what is of the right type, the newest first; digests settle what one second holds.
func (s *bound) baselines(ctx context.Context) ([]v1.Descriptor, error) {
	all, err := s.m.Referrers(ctx, s.x.Index.Digest)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(all, func(d v1.Descriptor) bool { return d.ArtifactType != s.kind() })
	slices.SortFunc(list, func(a, b v1.Descriptor) int {
		return cmp.Or(created(b).Compare(created(a)), cmp.Compare(a.Digest, b.Digest))
	})
	return list, nil
}

// moment is a time that no other baseline has: the later one must be the newer.
func (s *bound) moment(ctx context.Context, t time.Time) (time.Time, error) {
	list, err := s.baselines(ctx)
	for slices.ContainsFunc(list, func(d v1.Descriptor) bool { return created(d).Equal(t) }) {
		t = t.Add(time.Second)
	}
	return t, err
}

// created is when a baseline says it was recorded; the zero time if it says nothing.
func created(d v1.Descriptor) time.Time {
	t, _ := time.Parse(time.RFC3339, d.Annotations[v1.AnnotationCreated])
	return t.UTC()
}

// trusted verifies a baseline's own signature, where one is demanded.
func (s *bound) trusted(ctx context.Context, d v1.Descriptor) error {
	if s.policy == nil {
		return nil
	}
	about := subject(s.m, s.x) // the rule that admits the snapshot admits its baseline
	about.Index = d
	_, err := trust.Verify(ctx, s.m, about, s.m.name, s.policy)
	return err
}

// open reads a baseline that belongs to the snapshot.
func (s *bound) open(ctx context.Context, d v1.Descriptor) (*fidelity.Baseline, error) {
	data, err := artifact.ReadReferrer(ctx, s.m, d, s.x.Index.Digest, s.kind(), maxStored)
	if err != nil {
		return nil, err
	}
	if s.x.Seal != nil {
		r, err := s.x.Seal.Secret.Decrypt(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	b, err := fidelity.DecodeBaseline(data)
	if err != nil {
		return nil, err
	}
	if !b.Recorded.Equal(created(d)) {
		return nil, fault.Mark(fault.Untrusted, errors.New("it was recorded at another time than its manifest says"))
	}
	return b, nil
}
