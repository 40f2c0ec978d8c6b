package erasure

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/reedsolomon"

	"github.com/agibake/agibake/internal/fault"
)

// part is one source and what became known of it.
type part struct {
	Source
	header         // of number 0 where it is foreign
	headed   bool  // its own first bytes are good
	tail     *tail // nil where it cannot be read
	checked  int64
	bad      int64
	digest   hash.Hash // of header and records, where Examine reads them all
	otherSum bool      // they are not what the tail says
	err      error
}

// set is what several sources say together.
type set struct {
	header            // of number 0
	end     *tail     // any part's; nil where all are cut off
	sources []*part   // as given, foreign ones too
	copies  [][]*part // by part, all sources of it
	code    reedsolomon.Encoder
	short   int
	lost    int64
}

// open reads headers and tails. Parts of several sets, or such that contradict each other, are refused.
func open(sources []Source) (*set, error) {
	s := &set{}
	for _, src := range sources {
		s.sources = append(s.sources, look(src))
	}
	first := (*part)(nil)
	for _, p := range s.sources {
		switch {
		case p.number == 0:
			continue
		case first == nil:
			first, s.header, s.copies = p, p.of(0), make([][]*part, p.header.parts)
		case p.id != s.id:
			return nil, fault.Mark(fault.Input, fmt.Errorf("%s is of set %x, %s of set %x: %w", first.Label, s.id, p.Label, p.id, ErrMixed))
		case p.of(0) != s.header:
			return nil, contradict(first, p)
		}
		s.copies[p.number-1] = append(s.copies[p.number-1], p)
	}
	if first == nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read the parts: none of the %d files is one", len(sources)))
	}
	if err := s.ends(); err != nil {
		return nil, err
	}
	var err error
	s.code, err = s.encoder()
	return s, err
}

func contradict(a, b *part) error {
	return fault.Mark(fault.Untrusted, fmt.Errorf("%s and %s are of one set, %x, and contradict each other", a.Label, b.Label, a.id))
}

// ends finds what the tails say. They are checked by their sums: two that differ are no accident.
func (s *set) ends() error {
	from := (*part)(nil)
	for _, p := range s.sources {
		switch {
		case p.tail == nil:
		case from == nil:
			from, s.end = p, p.tail
		case p.tail.length != s.end.length || p.tail.stream != s.end.stream:
			return contradict(from, p)
		}
	}
	if s.end == nil {
		return nil
	}
	for _, p := range s.sources { // something may be appended
		if p.number > 0 && p.tail == nil && p.Size > p.tailAt(s.end.length)+tailSize {
			p.readTail(p.tailAt(s.end.length))
		}
		if p.tail != nil && p.tail.stream != s.end.stream {
			return contradict(from, p)
		}
	}
	return nil
}

// look reads the two places that tell what a source is.
func look(src Source) *part {
	p := &part{Source: src}
	head := make([]byte, headSize)
	if p.read(head, 0) {
		p.header, p.headed = parseHeader(head)
	}
	p.readTail(src.Size - tailSize)
	return p
}

// readTail takes the tail at an offset if it is this part's and belongs there.
func (p *part) readTail(at int64) {
	b := make([]byte, tailSize)
	if at < headSize || !p.read(b, at) {
		return
	}
	if t, ok := parseTail(b); ok && (!p.headed || t.header == p.header) && t.tailAt(t.length) == at {
		p.header, p.tail = t.header, &t
	}
}

// read fills b from an offset. A disk may fail in one place only, so that an error is noted and no more.
func (p *part) read(b []byte, at int64) bool {
	if at+int64(len(b)) > p.Size {
		return false
	}
	n, err := p.R.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) && p.err == nil {
		p.err = err
	}
	return n == len(b)
}

// shard reads the record of a stripe and says whether it is what was written.
func (p *part) shard(n int64, record []byte) bool {
	p.checked++
	ok := p.read(record, p.offset(n))
	if ok && p.digest != nil {
		p.digest.Write(record)
	}
	if ok && bytes.Equal(p.sum(n, record[sumSize:]), record[:sumSize]) {
		return true
	}
	p.bad++
	return false
}
