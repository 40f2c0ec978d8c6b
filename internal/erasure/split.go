package erasure

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/reedsolomon"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// Split reads in to its end and writes part i+1 to out[i], each from a goroutine of its own and all at the pace of the
// slowest. Parts grow to the stream's length divided by o.Needed. After an error, or a done
// context, which is looked at between stripes of a few MiB, the parts have no tail and are useless.
//
// Errors: those of in and out; fault.Usage for options that cannot be.
func Split(ctx context.Context, in io.Reader, out []io.Writer, o Options) (Set, error) {
	h, err := o.header(0)
	if err != nil {
		return Set{}, err
	}
	rand.Read(h.id[:]) // never fails
	return h.split(ctx, in, out, o.Progress)
}

// splitter is one Split at work.
type splitter struct {
	header
	in    io.Reader
	ended bool
	read  int64 // bytes of in
	next  int64 // stripe
	code  reedsolomon.Encoder
	sum   hash.Hash // of the stream
	out   []*partWriter
	tell  progress.Func
}

func (h header) split(ctx context.Context, in io.Reader, out []io.Writer, tell progress.Func) (Set, error) {
	if len(out) != h.parts {
		return Set{}, fault.Mark(fault.Usage, fmt.Errorf("split into %d parts: %d places to write them to", h.parts, len(out)))
	}
	s := &splitter{header: h, in: in, sum: sha256.New(), tell: tell}
	var err error
	if s.code, err = h.encoder(); err != nil {
		return Set{}, fmt.Errorf("split: %w", err)
	}
	for i, w := range out {
		p, err := h.of(i + 1).start(w)
		if err != nil {
			return Set{}, err
		}
		s.out = append(s.out, p)
	}
	if err := pipe(ctx, h, s.fill, s.drain); err != nil {
		return Set{}, fmt.Errorf("split: %w", err)
	}
	stream := s.sum.Sum(nil)
	for _, p := range s.out {
		if err := p.end(s.read, stream); err != nil {
			return Set{}, err
		}
	}
	return h.set(s.read, stream), nil
}

// fill reads the next stripe.
func (s *splitter) fill(st *stripe) error {
	if s.ended {
		return errEnd
	}
	st.reset(s.next, s.needed*s.shard, s.shard)
	s.next++
	data := 0
	for i := range s.needed {
		n, err := readFull(s.in, st.take(i))
		data += n
		if s.ended = err == io.EOF; s.ended { // what wraps io.EOF is an error
			break
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
	}
	s.read += int64(data)
	s.tell.Count("split", s.name, s.read, 0)
	if data == 0 {
		return errEnd
	}
	if data < st.data {
		st.shorten(data, s.needed)
	}
	return nil
}

// drain hashes and writes a stripe, everything at once.
func (s *splitter) drain(st *stripe) error {
	var g errgroup.Group
	write := func(i int) { g.Go(func() error { return s.out[i].record(st) }) }
	g.Go(func() error { return st.writeTo(s.sum) })
	for i := range s.needed {
		write(i)
	}
	for i := s.needed; i < s.parts; i++ {
		st.take(i)
	}
	if err := s.code.Encode(st.shards); err != nil {
		return errors.Join(err, g.Wait())
	}
	for i := s.needed; i < s.parts; i++ {
		write(i)
	}
	return g.Wait()
}

// partWriter writes one part.
type partWriter struct {
	header
	w     io.Writer
	whole hash.Hash // of all that was written
}

func (h header) start(w io.Writer) (*partWriter, error) {
	p := &partWriter{h, w, sha256.New()}
	return p, p.write(h.marshal())
}

func (p *partWriter) write(b []byte) error {
	p.whole.Write(b)
	if _, err := p.w.Write(b); err != nil {
		return fmt.Errorf("write part %d: %w", p.number, err)
	}
	return nil
}

// record writes this part's shard of a stripe.
func (p *partWriter) record(st *stripe) error {
	r := st.record(p.number - 1)
	copy(r, p.sum(st.n, r[sumSize:]))
	return p.write(r)
}

func (p *partWriter) end(length int64, stream []byte) error {
	return p.write(tail{p.header, length, [sumSize]byte(stream), [sumSize]byte(p.whole.Sum(nil))}.marshal())
}

// readFull is io.ReadFull but for two things: a short end is io.EOF, and io.ErrUnexpectedEOF is the reader's own, who
// says with it that the stream was cut off.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for empty := 0; n < len(b) && err == nil; {
		var got int
		got, err = r.Read(b[n:])
		n += got
		if empty++; got > 0 {
			empty = 0
		} else if empty == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}
