package fidelity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	hashing "hash"
	"io"
	"slices"
	"sync"

	"github.com/agibake/agibake/internal/weights"
)

const piece = 1 << 20 // bytes read at once

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func hexOf(h hashing.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// hash reads a file of size bytes once and returns its sha256, and after it that of each tensor. The file's and the tensors'
// hashes run on two cores.
func hash(ctx context.Context, r io.Reader, size int64, tensors []weights.Tensor, report func(done int64)) ([]string, error) {
	whole, parts := sha256.New(), &cutter{tensors: tensors, hash: sha256.New()}
	buf := make([]byte, piece)
	done := int64(0)
	for done < size {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf[:min(piece, size-done)])
		if err != nil {
			return nil, cmp.Or(shrunk(err), err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { whole.Write(buf[:n]) })
		parts.write(buf[:n])
		wg.Wait()
		done += int64(n)
		report(done)
	}
	return append([]string{hexOf(whole)}, parts.end()...), nil
}

func shrunk(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it became shorter while it was read: %w", err)
	}
	return nil
}

// cutter hashes the tensors of a file that is written to it from its start.
type cutter struct {
	tensors []weights.Tensor // by offset, without gaps
	hash    hashing.Hash
	at      int64
	sums    []string
}

func (c *cutter) write(data []byte) {
	for len(data) > 0 && len(c.sums) < len(c.tensors) {
		t := c.tensors[len(c.sums)]
		if before := t.Offset - c.at; before > 0 {
			n := min(before, int64(len(data)))
			c.at, data = c.at+n, data[n:]
			continue
		}
		n := min(t.Offset+t.Size-c.at, int64(len(data)))
		c.hash.Write(data[:n])
		if c.at, data = c.at+n, data[n:]; c.at == t.Offset+t.Size {
			c.sums = append(c.sums, hexOf(c.hash))
			c.hash.Reset()
		}
	}
}

// end adds empty tensors at the file's end, which no byte reached.
func (c *cutter) end() []string {
	for len(c.sums) < len(c.tensors) {
		c.sums = append(c.sums, hexOf(c.hash))
	}
	return c.sums
}

// hashValues hashes keys and values in the order of the keys; lengths stand between, so that no two lists look alike.
func hashValues(r io.ReaderAt, list []weights.Value) (string, error) {
	slices.SortStableFunc(list, func(a, b weights.Value) int { return cmp.Compare(a.Key, b.Key) })
	h := sha256.New()
	for _, v := range list {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(v.Key))))
		io.WriteString(h, v.Key)
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(v.Size)))
		if _, err := io.Copy(h, io.NewSectionReader(r, v.Offset, v.Size)); err != nil {
			return "", err
		}
	}
	return hexOf(h), nil
}
