// Package chunk cuts a stream where its content says so, so that what was inserted or removed changes the pieces around
// it and no others.
package chunk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
)

// Sizes of a chunk, in bytes. Only the last of a stream is smaller than Min.
const (
	Min  = 256 << 10
	Mean = 1 << 20
	Max  = 4 << 20
)

// Bits of the fingerprint that are zero at a cut: more before Mean, fewer behind it. They are the highest ones, which
// depend on the last 64 bytes (Xia et al., "The Design of Fast Content-Defined Chunking", 2020, section 3.4: NC2).
const (
	rare   uint64 = (1<<22 - 1) << 42
	common uint64 = (1<<18 - 1) << 46
)

// gear gives each byte a number: the first eight bytes, big-endian, of the SHA-256 of that byte.
var gear = func() (table [256]uint64) {
	for i := range table {
		sum := sha256.Sum256([]byte{byte(i)})
		table[i] = binary.BigEndian.Uint64(sum[:])
	}
	return table
}()

// Chunker reads a stream in chunks. Its memory is twice Max.
type Chunker struct {
	r        io.Reader
	buf      []byte
	from, to int // of buf: what was read and not returned
	err      error
}

// New returns a Chunker of r.
func New(r io.Reader) *Chunker { return &Chunker{r: r, buf: make([]byte, 2*Max)} }

// Reset goes on with another stream in the same memory.
func (c *Chunker) Reset(r io.Reader) { c.r, c.from, c.to, c.err = r, 0, 0, nil }

// Next returns the next chunk, valid until the next call, or io.EOF behind the last one, or the reader's error.
func (c *Chunker) Next() ([]byte, error) {
	if c.to-c.from < Max {
		c.fill()
	}
	if c.err != nil && !errors.Is(c.err, io.EOF) {
		return nil, c.err
	}
	if c.from == c.to {
		return nil, io.EOF
	}
	n := cut(c.buf[c.from:min(c.to, c.from+Max)])
	chunk := c.buf[c.from : c.from+n]
	c.from += n
	return chunk, nil
}

// fill reads until there is a whole chunk at least, or no more.
func (c *Chunker) fill() {
	c.to = copy(c.buf, c.buf[c.from:c.to])
	c.from = 0
	for empty := 0; c.err == nil && c.to < len(c.buf); {
		var n int
		n, c.err = c.r.Read(c.buf[c.to:])
		c.to += n
		if empty++; n > 0 {
			empty = 0
		} else if empty == 100 && c.err == nil {
			c.err = io.ErrNoProgress
		}
	}
}

// cut returns the length of the chunk at the start of data, which has Max bytes or is the stream's rest.
func cut(data []byte) int {
	if len(data) <= Min {
		return len(data)
	}
	mean := min(Mean, len(data))
	print := uint64(0)
	for i, b := range data[Min:mean] {
		if print = print<<1 + gear[b]; print&rare == 0 {
			return Min + i + 1
		}
	}
	for i, b := range data[mean:] {
		if print = print<<1 + gear[b]; print&common == 0 {
			return mean + i + 1
		}
	}
	return len(data)
}
