package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// hasher passes bytes on and hashes each chunk in a second goroutine while it is being written.
type hasher struct {
	w    io.Writer
	in   chan []byte
	done chan struct{}
	sum  chan []byte
}

func newHasher(w io.Writer) *hasher {
	in := make(chan []byte)
	s := &hasher{w: w, in: in, done: make(chan struct{}), sum: make(chan []byte, 1)}
	go func() {
		h := sha256.New()
		for p := range in { // not s.in, which stop changes
			h.Write(p)
			s.done <- struct{}{}
		}
		s.sum <- h.Sum(nil)
	}()
	return s
}

func (s *hasher) Write(p []byte) (int, error) {
	s.in <- p
	n, err := s.w.Write(p)
	<-s.done
	return n, err
}

func (s *hasher) stop() {
	if s.in != nil {
		close(s.in)
		s.in = nil
	}
}

func (s *hasher) digest() string {
	s.stop()
	return "sha256:" + hex.EncodeToString(<-s.sum)
}
