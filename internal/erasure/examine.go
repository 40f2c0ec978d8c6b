package erasure

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
)

// Examine reads the sources to their ends and says what of a set is there, missing and damaged. Where every part is cut
// off only headers are looked at. What cannot be read is counted as damaged.
//
// Errors: fault.Input where no source is a part, ErrMixed, fault.Untrusted for parts that contradict each other or whose
// stream is not the one they announce; the last comes with a report.
func Examine(ctx context.Context, sources []Source) (*Report, error) {
	s, err := open(sources)
	if err != nil {
		return nil, err
	}
	if s.end == nil {
		s.short = max(1, s.needed-len(s.present()))
		return s.report(), nil
	}
	for _, p := range s.sources {
		p.digest = sha256.New()
		p.digest.Write(p.header.marshal())
	}
	spare := make([][]byte, len(s.copies))
	err = s.walk(ctx, func(st *stripe) error { return s.fetchAll(st, spare) }, func(*stripe) error { return nil })
	for _, p := range s.sources {
		p.otherSum = p.tail != nil && p.bad == 0 && [sumSize]byte(p.digest.Sum(nil)) != p.tail.part
	}
	return s.report(), err
}

// fetchAll reads a stripe's shards from all sources. spare is room, by part, to check another copy of a shard.
func (s *set) fetchAll(st *stripe, spare [][]byte) error {
	var g sync.WaitGroup
	for i, copies := range s.copies {
		g.Go(func() {
			room := st.record(i)
			for _, p := range copies {
				if p.shard(st.n, room) && len(st.shards[i]) == 0 {
					st.take(i)
					if spare[i] == nil && len(copies) > 1 {
						spare[i] = make([]byte, sumSize+s.shard)
					}
					room = spare[i][:min(len(spare[i]), len(room))]
				}
			}
		})
	}
	g.Wait()
	if good := st.good(); good < s.needed {
		s.short = max(s.short, s.needed-good)
		s.lost++
		return nil
	}
	return s.code.ReconstructData(st.shards)
}

// walk fills each stripe, drains it, and holds the stream against the SHA-256 in the tails. Stripes whose data is not
// known are passed over, and then nothing is compared.
func (s *set) walk(ctx context.Context, fill, drain func(*stripe) error) error {
	sum, next, hashed := sha256.New(), int64(0), int64(0)
	err := pipe(ctx, s.header, func(st *stripe) error {
		if next == s.stripes(s.end.length) {
			return errEnd
		}
		data, size := s.stripe(next, s.end.length)
		st.reset(next, data, size)
		next++
		return fill(st)
	}, func(st *stripe) error {
		if st.good() < s.needed {
			return nil
		}
		hashed += int64(st.data)
		var g errgroup.Group
		g.Go(func() error { return st.writeTo(sum) })
		g.Go(func() error { return drain(st) })
		return g.Wait()
	})
	if err == nil && hashed == s.end.length && [sumSize]byte(sum.Sum(nil)) != s.end.stream {
		err = fault.Mark(fault.Untrusted, fmt.Errorf("the stream of set %x has SHA-256 %x, where its parts announce %x", s.id, sum.Sum(nil), s.end.stream))
	}
	return err
}
