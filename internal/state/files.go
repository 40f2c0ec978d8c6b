package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/sparse"
	"github.com/agibake/agibake/internal/weights"
)

// open opens the bytes of a file, which must be the one that was found.
func (f *Found) open() (*os.File, error) {
	in, err := os.OpenFile(f.From, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := in.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() < f.Size) {
		err = f.moved()
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (f *Found) moved() error {
	return fault.Hint(fmt.Errorf("%s changed while it was read", f.From), "stop what writes to it, or leave it out with --exclude")
}

// unchanged compares a file with what was found, after it was read.
func (f *Found) unchanged(in *os.File) error {
	if f.staged {
		return nil
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if s, err := statOf(info); err != nil || s.Size != f.stat.Size || s.Modified != f.stat.Modified {
		return f.moved()
	}
	return nil
}

// small reads files whose content decides where they are cut, and packs their pieces.
func (c *capture) small(ctx context.Context, list []*Found) error {
	k := chunk.New(nil)
	for _, f := range list {
		if err := c.chunks(ctx, f, k); err != nil {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return nil
}

func (c *capture) chunks(ctx context.Context, f *Found, k *chunk.Chunker) error {
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	k.Reset(io.LimitReader(in, f.Size))
	whole := sha256.New()
	counts := strings.HasSuffix(f.Path, ".jsonl")
	last := byte('\n')
	f.Pieces, f.Records = nil, -1
	if counts {
		f.Records = 0
	}
	var size int64
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		data, err := k.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		p := Piece{Sum: sumOf(data), Size: int64(len(data))}
		f.Pieces = append(f.Pieces, p)
		if size += p.Size; p.Size < f.Size {
			whole.Write(data)
		}
		if counts {
			f.Records += int64(bytes.Count(data, []byte{'\n'}))
			last = data[len(data)-1]
		}
		if c.first(inPacks, p.Sum) {
			if err := c.pack.add(p, data); err != nil {
				return err
			}
		}
		c.report(f.Path, p.Size, true)
	}
	if size != f.Size {
		return f.moved()
	}
	if counts && last != '\n' {
		f.Records++
	}
	f.seal(whole.Sum(nil))
	return f.unchanged(in)
}

// seal gives a file its sum: that of the one piece where there is only one, which spares hashing it twice.
func (f *Found) seal(whole []byte) {
	if len(f.Pieces) == 1 {
		f.Sum = f.Pieces[0].Sum
	} else {
		f.Sum = Sum(whole)
	}
}

// large reads files of models, a piece a blob.
func (c *capture) large(ctx context.Context, list []*Found) error {
	buffers := make(chan []byte, 4)
	for range cap(buffers) {
		buffers <- nil
	}
	for _, f := range list {
		if err := c.pieces(ctx, f, buffers); err != nil {
			return fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return nil
}

func (c *capture) pieces(ctx context.Context, f *Found, buffers chan []byte) error {
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	cuts, err := modelCuts(in, f.Size)
	if err != nil {
		return err
	}
	f.Pieces, f.Records = make([]Piece, len(cuts)), -1
	blobs := make([]*Blob, len(cuts))
	whole := sha256.New()
	g, inner := errgroup.WithContext(ctx)
	for i, from := range cuts {
		end := f.Size
		if i+1 < len(cuts) {
			end = cuts[i+1]
		}
		buf := <-buffers
		if inner.Err() != nil {
			buffers <- buf
			break
		}
		if n := int(end - from); cap(buf) < n {
			buf = sparse.Aligned(LargePiece) // of which only what is used takes memory
		}
		data := buf[:end-from]
		if _, err := in.ReadAt(data, from); err != nil {
			buffers <- buf
			if errors.Is(err, io.EOF) {
				err = f.moved()
			}
			return errors.Join(err, g.Wait())
		}
		hashed := make(chan struct{})
		g.Go(func() error { // beside the sum of the whole
			defer func() { <-hashed; buffers <- buf }()
			var err error
			f.Pieces[i] = Piece{Sum: sumOf(data), Size: int64(len(data))}
			blobs[i], err = c.piece(inner, f.Pieces[i], data)
			c.report(f.Path, int64(len(data)), true)
			return err
		})
		if len(cuts) > 1 {
			whole.Write(data)
		}
		close(hashed)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	for _, b := range blobs {
		if b != nil {
			c.blobs = append(c.blobs, *b)
		}
	}
	c.mu.Unlock()
	if f.seal(whole.Sum(nil)); len(cuts) == 0 {
		f.Sum = sumOf(nil)
	}
	return f.unchanged(in)
}

// piece stores a piece as it is, unless that was done: nil.
func (c *capture) piece(ctx context.Context, p Piece, data []byte) (*Blob, error) {
	if !c.first(single, p.Sum) {
		return nil, nil
	}
	b := &Blob{Pieces: []Piece{p}}
	if c.o.Seal == nil {
		d, err := addBlob(ctx, c.to, p.Sum, data)
		b.Digest, b.Size = d.Digest, d.Size
		return b, err
	}
	d, err := c.o.Seal.write(ctx, c.to, func(w io.Writer) error { _, err := w.Write(data); return err })
	b.Digest, b.Size = d.Digest, d.Size
	return b, err
}

// modelCuts says where a file of a model is cut: between its tensors where that is understood.
func modelCuts(in *os.File, size int64) ([]int64, error) {
	tensors, err := weights.Tensors(in, size)
	if errors.Is(err, weights.ErrFormat) {
		tensors, err = nil, nil
	}
	return weights.Cuts(tensors, size, weights.Group(size), LargePiece), err
}
