package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
)

// hashAhead returns the SHA-256 (hex) and the size in bytes of what r gives. One goroutine reads while another hashes.
func hashAhead(r io.Reader) (string, int64, error) {
	type piece struct {
		data []byte
		err  error
	}
	const pieces, size = 3, 1 << 20
	free, full := make(chan []byte, pieces), make(chan piece, pieces)
	for range pieces {
		free <- make([]byte, size)
	}
	go func() {
		defer close(full)
		for err := error(nil); err == nil; {
			buf, n := <-free, 0
			n, err = io.ReadFull(r, buf)
			full <- piece{buf[:n], err}
		}
	}()
	h, n := sha256.New(), int64(0)
	for p := range full { // to the end, so that the reader has ended too
		if p.err != nil && !errors.Is(p.err, io.EOF) && !errors.Is(p.err, io.ErrUnexpectedEOF) {
			return "", 0, p.err
		}
		h.Write(p.data)
		n += int64(len(p.data))
		free <- p.data[:size]
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
