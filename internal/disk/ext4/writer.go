package ext4

import (
	"bytes"
	"io"
)

const (
	bufferSize = 1 << 20
	// zeroRun is the length of a run of zeros that is left out: the target reads as zero where nothing was written.
	zeroRun = 64 << 10
)

var zeros [zeroRun]byte

// blockWriter joins writes to adjacent places. Flush ends it.
type blockWriter struct {
	w   io.WriterAt
	buf []byte
	at  int64 // place of buf
	n   int   // bytes in buf
}

func newBlockWriter(w io.WriterAt) *blockWriter {
	return &blockWriter{w: w, buf: make([]byte, bufferSize)}
}

// room returns n bytes for the caller to fill that will be written at byte offset at. n is at most bufferSize.
func (b *blockWriter) room(at int64, n int) ([]byte, error) {
	if b.n > 0 && (at != b.at+int64(b.n) || b.n+n > len(b.buf)) {
		if err := b.flush(); err != nil {
			return nil, err
		}
	}
	if b.n == 0 {
		b.at = at
	}
	s := b.buf[b.n : b.n+n]
	b.n += n
	return s, nil
}

// put writes data at the start of a block.
func (b *blockWriter) put(block uint64, data []byte) error {
	return b.putAt(int64(block)*blockSize, data)
}

func (b *blockWriter) putAt(at int64, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), bufferSize)
		s, err := b.room(at, n)
		if err != nil {
			return err
		}
		copy(s, data)
		data, at = data[n:], at+int64(n)
	}
	return nil
}

// flush writes what has gathered, apart from runs of zeros.
func (b *blockWriter) flush() error {
	data, at := b.buf[:b.n], b.at
	b.n = 0
	for len(data) > 0 {
		keep := 0
		for keep < len(data) {
			part := data[keep:min(keep+zeroRun, len(data))]
			if bytes.Equal(part, zeros[:len(part)]) {
				break
			}
			keep += len(part)
		}
		if keep > 0 {
			if _, err := b.w.WriteAt(data[:keep], at); err != nil {
				return err
			}
		}
		skip := min(keep+zeroRun, len(data))
		data, at = data[skip:], at+int64(skip)
	}
	return nil
}
