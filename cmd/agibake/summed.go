package main

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// summed counts and hashes what is written.
type summed struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func newSummed(w io.Writer) *summed { return &summed{w: w, hash: sha256.New()} }

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *summed) hex() string { return hex.EncodeToString(s.hash.Sum(nil)) }
