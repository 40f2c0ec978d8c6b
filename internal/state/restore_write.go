package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/sparse"
)

// fill reads the blobs that hold missing pieces, several at a time.
func (r *restore) fill(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers())
	room := semaphore.NewWeighted(inMemory)
	taken := map[Sum]bool{}
	for i := range r.x.Contents.Blobs {
		b := &r.x.Contents.Blobs[i]
		mine := map[Sum]bool{}
		for _, p := range b.Pieces {
			if !taken[p.Sum] && len(r.places[p.Sum]) > 0 {
				taken[p.Sum], mine[p.Sum] = true, true
			}
		}
		if len(mine) == 0 {
			continue
		}
		g.Go(func() error {
			if err := room.Acquire(ctx, b.memory(r.x.Seal)); err != nil {
				return err
			}
			defer room.Release(b.memory(r.x.Seal))
			r.read.Add(b.Size)
			if !b.Packed && r.x.Seal == nil {
				return r.large(ctx, b)
			}
			return readBlob(ctx, r.s, b, r.x.Seal, r.memory, func(p Piece) bool { return mine[p.Sum] }, r.put)
		})
	}
	err := g.Wait()
	r.Read = r.read.Load()
	return err
}

func (b *Blob) memory(s *Seal) int64 {
	switch {
	case b.Packed:
		return 2*packWindow + chunk.Max
	case b.Pieces[0].Size <= chunk.Max:
		return chunk.Max
	case s != nil: // deciphering leaves garbage of several times the size behind
		return 4 * LargePiece
	}
	return LargePiece
}

// readers is how many blobs are read at a time.
func readers() int { return max(4, min(runtime.GOMAXPROCS(0), 8)) }

// put writes a piece wherever it belongs.
func (r *restore) put(p Piece, data []byte) error {
	for _, at := range r.places[p.Sum] {
		f, err := r.root.OpenFile(at.file.Path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data, at.offset)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		r.o.Progress.Count("restore", at.file.Path, r.done.Add(p.Size), r.total)
	}
	return nil
}

// large restores a piece that is a blob of its own, past the page cache.
func (r *restore) large(ctx context.Context, b *Blob) error {
	p := b.Pieces[0]
	at := r.places[p.Sum][0]
	lead := int(at.offset % sparse.Align)
	buf, free := r.memory.get(int64(lead) + p.Size)
	defer free()
	data := buf[lead:]
	if err := r.fetch(ctx, b, data); err != nil {
		return err
	}
	for i, at := range r.places[p.Sum] {
		if i > 0 && int(at.offset%sparse.Align) != lead {
			if err := r.plain(at, data); err != nil {
				return err
			}
		} else if err := r.direct(at, buf, lead, len(data)); err != nil {
			return err
		}
		r.o.Progress.Count("restore", at.file.Path, r.done.Add(p.Size), r.total)
	}
	return nil
}

// fetch reads a piece and holds it against its digest.
func (r *restore) fetch(ctx context.Context, b *Blob, data []byte) error {
	in, err := r.s.Blob(ctx, b.descriptor(), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.ReadFull(&cancelled{ctx, in}, data); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("blob %s is cut off: %w", b.Digest, artifact.ErrDigest)
	} else if err != nil {
		return err
	}
	if sumOf(data) != b.Pieces[0].Sum {
		return fmt.Errorf("blob %s: %w", b.Digest, artifact.ErrDigest)
	}
	return nil
}

func (r *restore) plain(at place, data []byte) error {
	f, err := r.root.OpenFile(at.file.Path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, at.offset)
	return errors.Join(err, f.Close())
}

// direct writes n bytes that stand in buf where they stand in their page of the file: whole pages directly, the pages at
// both ends, which other pieces share, through the cache.
func (r *restore) direct(at place, buf []byte, lead, n int) error {
	f, err := r.root.OpenFile(at.file.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d := sparse.NewDirect(f)
	defer d.Close()
	base := at.offset - int64(lead)
	from, to := (lead+sparse.Align-1)&^(sparse.Align-1), (lead+n)&^(sparse.Align-1)
	if to <= from {
		_, err := f.WriteAt(buf[lead:lead+n], at.offset)
		return err
	}
	if _, err := f.WriteAt(buf[lead:from], at.offset); err != nil {
		return err
	}
	if _, err := d.WriteAt(buf[from:to], base+int64(from)); err != nil {
		return err
	}
	_, err = f.WriteAt(buf[to:lead+n], base+int64(to))
	return err
}
