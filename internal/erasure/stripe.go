package erasure

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/klauspost/reedsolomon"
)

// stripe is as much of the stream as one shard of each part holds.
type stripe struct {
	n       int64    // from 0
	data    int      // bytes of the stream in it
	size    int      // bytes of each shard
	records [][]byte // by part: room for a checksum and a shard
	shards  [][]byte // by part: the shard, within the record; empty where it is not known
}

func (h header) newStripe() *stripe {
	s := &stripe{records: make([][]byte, h.parts), shards: make([][]byte, h.parts)}
	for i := range s.records {
		s.records[i] = make([]byte, sumSize+h.shard)
	}
	return s
}

// reset makes it stripe n, of which nothing is known.
func (s *stripe) reset(n int64, data, size int) {
	s.n, s.data, s.size = n, data, size
	for i, r := range s.records {
		s.shards[i] = r[sumSize:sumSize] // the encoder takes the room behind it
	}
}

// record returns checksum and shard of part i, from 0.
func (s *stripe) record(i int) []byte { return s.records[i][:sumSize+s.size] }

// take makes the shard in part i's record known.
func (s *stripe) take(i int) []byte {
	s.shards[i] = s.record(i)[sumSize:]
	return s.shards[i]
}

// good counts the shards that are known.
func (s *stripe) good() (n int) {
	for _, shard := range s.shards {
		if len(shard) > 0 {
			n++
		}
	}
	return n
}

// shorten makes it the last stripe: data bytes, now in full shards, are spread over all of them.
func (s *stripe) shorten(data, needed int) {
	all := bytes.Join(s.shards[:needed], nil)[:data]
	s.reset(s.n, data, (data+needed-1)/needed)
	for i := range needed {
		shard := s.take(i)
		n := copy(shard, all[min(i*s.size, data):])
		clear(shard[n:])
	}
}

// writeTo writes what the stripe holds of the stream. The data shards must be known.
func (s *stripe) writeTo(w io.Writer) error {
	for i, rest := 0, s.data; rest > 0; i++ {
		shard := s.shards[i][:min(rest, s.size)]
		rest -= len(shard)
		if _, err := w.Write(shard); err != nil {
			return err
		}
	}
	return nil
}

// encoder returns the code of the set: the library's default matrix, which docs/split.md describes.
func (h header) encoder() (reedsolomon.Encoder, error) {
	// A cache of inverted matrices would grow with each new pattern of damage.
	return reedsolomon.New(h.needed, h.parts-h.needed, reedsolomon.WithInversionCache(false))
}

// errEnd is what fill returns behind the last stripe. It is not io.EOF, which a broken reader may wrap.
var errEnd = errors.New("no more stripes")

// pipe fills one stripe while it drains the one before, until fill returns errEnd or something fails. Neither function
// runs any more when it returns; one that blocks delays it.
func pipe(ctx context.Context, h header, fill, drain func(*stripe) error) error {
	now, next := h.newStripe(), h.newStripe()
	err := ctx.Err()
	if err == nil {
		err = fill(now)
	}
	for err == nil {
		drained := make(chan error, 1)
		go func() { drained <- drain(now) }()
		err = fill(next)
		if err := <-drained; err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		now, next = next, now
	}
	if errors.Is(err, errEnd) {
		return ctx.Err()
	}
	return err
}
