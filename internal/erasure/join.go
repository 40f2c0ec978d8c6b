package erasure

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
)

// Join writes the stream to out. It reads of each stripe as many shards as it needs, parts with plain data first, so that
// damage in others may stay unseen: PartReport.Checked tells. Several copies of a part help each other out. What was
// written counts only if there is no error: the stream's SHA-256 is checked behind its last byte.
//
// Errors: those of Examine, those of out, and ErrTooFew, which says what is missing; with most comes a report of what was
// found until then.
func Join(ctx context.Context, sources []Source, out io.Writer) (*Report, error) {
	s, err := open(sources)
	if err != nil {
		return nil, err
	}
	err = s.restore(ctx, func(st *stripe) error { return s.code.ReconstructData(st.shards) }, func(st *stripe) error {
		if err := st.writeTo(out); err != nil {
			return fmt.Errorf("write the stream: %w", err)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("join: %w", err)
	}
	return s.report(), err
}

// Repair writes parts anew, numbers[i] to out[i], byte by byte as Split wrote them. None of out may be what a source
// reads from. A part is good only if there is no error.
//
// Errors: those of Join, and fault.Usage for numbers that the set does not have.
func Repair(ctx context.Context, sources []Source, numbers []int, out []io.Writer) error {
	s, err := open(sources)
	if err != nil {
		return err
	}
	if len(numbers) != len(out) {
		return fault.Mark(fault.Usage, fmt.Errorf("repair: %d parts and %d places to write them to", len(numbers), len(out)))
	}
	required := make([]bool, len(s.copies)) // the data as well, for the stream's sum
	copy(required, slices.Repeat([]bool{true}, s.needed))
	var writers []*partWriter
	for i, n := range numbers {
		if n < 1 || n > len(s.copies) || slices.Contains(numbers[:i], n) {
			return fault.Mark(fault.Usage, fmt.Errorf("repair: there is no part %d of %d, or it is asked for twice", n, len(s.copies)))
		}
		required[n-1] = true
		w, err := s.of(n).start(out[i])
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		writers = append(writers, w)
	}
	err = s.restore(ctx, func(st *stripe) error { return s.code.ReconstructSome(st.shards, required) }, func(st *stripe) error {
		var g errgroup.Group
		for _, w := range writers {
			g.Go(func() error { return w.record(st) })
		}
		return g.Wait()
	})
	for i := 0; i < len(writers) && err == nil; i++ {
		err = writers[i].end(s.end.length, s.end.stream[:])
	}
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	return nil
}

// restore is walk over what fetch reads and reconstruct completes.
func (s *set) restore(ctx context.Context, reconstruct, drain func(*stripe) error) error {
	if s.end == nil {
		s.short = max(1, s.needed-len(s.present()))
		return s.tooFew("every part lacks its end, which tells the stream's length")
	}
	return s.walk(ctx, func(st *stripe) error {
		if err := s.fetch(st); err != nil {
			return err
		}
		return reconstruct(st)
	}, drain)
}

// fetch reads as many good shards of a stripe as are needed, and not many more.
func (s *set) fetch(st *stripe) error {
	rest := s.present()
	for good := 0; good < s.needed; good = st.good() {
		if len(rest) == 0 {
			s.short, s.lost = s.needed-good, s.lost+1
			return s.tooFew(fmt.Sprintf("stripe %d of %d: good shards: %d of the %d needed", st.n+1, s.stripes(s.end.length), good, s.needed))
		}
		n := min(s.needed-good, len(rest))
		var g sync.WaitGroup
		for _, i := range rest[:n] {
			g.Go(func() {
				if slices.ContainsFunc(s.copies[i], func(p *part) bool { return p.shard(st.n, st.record(i)) }) {
					st.take(i)
				}
			})
		}
		g.Wait()
		rest = rest[n:]
	}
	return nil
}
