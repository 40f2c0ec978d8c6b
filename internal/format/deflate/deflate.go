// Package deflate compresses pieces of a disk as raw deflate streams (RFC 1951), one at a time. Weights of models have no
// repetitions but uneven bytes; where the search for repetitions finds little, Huffman codes alone are tried.
package deflate

import (
	"bytes"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/flate"
)

// Compressor compresses pieces. What it returns depends on the piece only. It is not safe for concurrent use.
type Compressor struct {
	search, huffman *flate.Writer
	buf             bytes.Buffer
}

// New returns a Compressor of level 1 to 9.
func New(level int) (*Compressor, error) {
	w, err := flate.NewWriter(nil, level)
	if err != nil {
		return nil, err
	}
	return withSearch(w)
}

// NewWindow returns a Compressor whose streams refer back at most so many bytes.
func NewWindow(bytes int) (*Compressor, error) {
	w, err := flate.NewWriterWindow(nil, bytes)
	if err != nil {
		return nil, err
	}
	return withSearch(w)
}

func withSearch(w *flate.Writer) (*Compressor, error) {
	h, err := flate.NewWriter(nil, flate.HuffmanOnly)
	return &Compressor{search: w, huffman: h}, err
}

// Append appends the compressed piece to dst.
func (c *Compressor) Append(dst, piece []byte) ([]byte, error) {
	start := len(dst)
	dst, err := c.write(c.search, dst, piece)
	if err != nil || len(dst)-start < len(piece)/8*7 || !uneven(piece) {
		return dst, err
	}
	other, err := c.write(c.huffman, nil, piece)
	if len(other) < len(dst)-start {
		dst = append(dst[:start], other...)
	}
	return dst, err
}

func (c *Compressor) write(w *flate.Writer, dst, piece []byte) ([]byte, error) {
	c.buf.Reset()
	w.Reset(&c.buf)
	if _, err := w.Write(piece); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return append(dst, c.buf.Bytes()...), nil
}

// uneven guesses from samples whether some bytes are more frequent than others. Of noise, estimates are near 0.02; of
// weights in 4 and 8 bits, near 0.17.
func uneven(b []byte) bool {
	const sample, step, least = 4 << 10, 16 << 10, 0.05
	for off := 0; off+sample <= len(b); off += step {
		if compress.Estimate(b[off:off+sample]) > least {
			return true
		}
	}
	return false
}
