package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// Sums are the digests of a file that is kept in blobs of a limited size.
type Sums struct {
	Size   int64  // bytes
	SHA256 string // hex
	Parts  []Part // in order; the only one is the whole file
}

// Part is one blob of a file.
type Part struct {
	Size   int64
	SHA256 string // hex
}

// Summer computes the Sums of what is written to it. The first part's digest is a prefix of the whole's: a file of one
// part is hashed once, only the rest of a larger one twice.
type Summer struct {
	limit int64
	whole hash.Hash
	part  hash.Hash // nil in the first part
	in    int64     // bytes of the current part
	sums  Sums
}

const forked = 64 << 10 // bytes that take longer to hash than another goroutine to start

// NewSummer cuts after every limit bytes; 0 means PartSize.
func NewSummer(limit int64) *Summer {
	if limit <= 0 {
		limit = PartSize
	}
	return &Summer{limit: limit, whole: sha256.New()}
}

// Write implements io.Writer. It does not fail.
func (s *Summer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.in == s.limit {
			s.cut()
			s.part = sha256.New()
		}
		piece := p[:min(int64(len(p)), s.limit-s.in)]
		s.both(piece)
		s.in += int64(len(piece))
		s.sums.Size += int64(len(piece))
		p = p[len(piece):]
	}
	return n, nil
}

// both hashes a piece, on two cores where it counts twice and is worth it.
func (s *Summer) both(piece []byte) {
	switch {
	case s.part == nil:
		s.whole.Write(piece)
	case len(piece) < forked:
		s.whole.Write(piece)
		s.part.Write(piece)
	default:
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.part.Write(piece)
		}()
		s.whole.Write(piece)
		<-done
	}
}

func (s *Summer) cut() {
	h := s.part
	if h == nil {
		h = s.whole
	}
	s.sums.Parts = append(s.sums.Parts, Part{s.in, hex.EncodeToString(h.Sum(nil))})
	s.in = 0
}

// Sums returns what was written. Nothing may be written afterwards.
func (s *Summer) Sums() Sums {
	if s.in > 0 {
		s.cut()
	}
	s.sums.SHA256 = hex.EncodeToString(s.whole.Sum(nil))
	return s.sums
}

// SumFile reads r to its end.
func SumFile(ctx context.Context, r io.Reader, limit int64) (Sums, error) {
	s := NewSummer(limit)
	for buf := make([]byte, 1<<20); ; {
		n, err := r.Read(buf)
		s.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return s.Sums(), nil
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return Sums{}, err
		}
	}
}
