package state

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/progress"
)

// TopFolder is the folder in an archive that holds the state.
const TopFolder = "agi-core"

// ExportOptions are how a state is written as one archive.
type ExportOptions struct {
	Compression layer.Compression
	Progress    progress.Func
}

// Exported says what an archive holds.
type Exported struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // of files
}

// Export writes the snapshot as a tar (docs/state-move.md): the state below TopFolder in the order of the tree, then lists
// of sums. Equal snapshots give equal tars. Every byte is held against its digest on the way: ErrDigest.
func (x *Snapshot) Export(ctx context.Context, s artifact.Reader, w io.Writer, o ExportOptions) (*Exported, error) {
	r := newPieces(x, s)
	e := &exporter{ctx: ctx, o: o, time: x.Info.Created}
	return e.run(w, x.Tree.Entries, func(i int, w io.Writer) error {
		for _, p := range x.Tree.Entries[i].Pieces {
			if err := e.piece(r, p, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// piece writes a piece, without holding it in memory where it is a blob of its own.
func (e *exporter) piece(r *pieces, p Piece, w io.Writer) error {
	b := r.at[p.Sum]
	if b.Packed || r.x.Seal != nil {
		data, err := r.get(e.ctx, p)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	in, err := r.s.Blob(e.ctx, b.descriptor(), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	v, err := artifact.Verified(in, b.descriptor())
	if err == nil {
		_, err = io.CopyBuffer(onlyWriter{w}, v, e.buf)
	}
	return err
}

// ExportFound writes what was found in a folder as Export does. The archive's time is that of the latest change.
func ExportFound(ctx context.Context, found []Found, w io.Writer, o ExportOptions) (*Exported, error) {
	e := &exporter{ctx: ctx, o: o, time: time.Unix(0, 0)}
	found = slices.SortedFunc(slices.Values(found), func(a, b Found) int { return compareEntries(a.Entry, b.Entry) })
	t := &Tree{}
	for _, f := range found {
		t.Entries = append(t.Entries, f.Entry)
		if at := time.Unix(0, f.stat.Modified); at.After(e.time) {
			e.time = at
		}
	}
	return e.run(w, t.Entries, func(i int, w io.Writer) error {
		in, err := found[i].open()
		if err != nil {
			return err
		}
		defer in.Close()
		if _, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(in, found[i].Size), e.buf); err != nil {
			return err
		}
		return found[i].unchanged(in)
	})
}

type exporter struct {
	Exported
	ctx         context.Context
	o           ExportOptions
	time        time.Time
	tar         *tar.Writer
	md5, sha256 sumList
	total       int64
	buf         []byte
}

func (e *exporter) run(w io.Writer, entries []Entry, content func(i int, w io.Writer) error) (*Exported, error) {
	z, err := compressor(e.ctx, w, e.o.Compression)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	e.tar, e.buf = tar.NewWriter(z), make([]byte, sumStep)
	err = e.all(entries, content)
	if err == nil {
		err = e.tar.Close()
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return &e.Exported, nil
}

func (e *exporter) all(entries []Entry, content func(i int, w io.Writer) error) error {
	for _, f := range entries {
		e.total += f.Size
	}
	if err := e.header(&tar.Header{Typeflag: tar.TypeDir, Name: TopFolder + "/", Mode: 0o755}); err != nil {
		return err
	}
	for i := range entries {
		f := &entries[i]
		if f.Kind == File && (f.Path == MD5List || f.Path == SHA256List) {
			e.o.Progress.Warn("export", f.Path+" of an earlier export is left out")
			continue
		}
		if err := e.entry(f, func(w io.Writer) error { return content(i, w) }); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := e.list(MD5List, &e.md5); err != nil {
		return err
	}
	return e.list(SHA256List, &e.sha256)
}

func (e *exporter) entry(f *Entry, content func(io.Writer) error) error {
	h := &tar.Header{Name: path.Join(TopFolder, f.Path), Mode: int64(f.Mode), Uid: int(f.UID), Gid: int(f.GID)}
	switch f.Kind {
	case Dir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case Link:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Target
	case File:
		h.Typeflag, h.Size = tar.TypeReg, f.Size
	}
	if err := e.header(h); err != nil || f.Kind != File {
		return err
	}
	before := e.Bytes
	s := newSums(&counted{e, f.Path})
	if err := content(s); err != nil {
		return err
	}
	sum := s.sha256.Sum(nil)
	if f.Sum != (Sum{}) && Sum(sum) != f.Sum { // one that was found is not known yet
		return artifact.ErrDigest
	}
	if e.Bytes-before != f.Size {
		return io.ErrUnexpectedEOF
	}
	e.Files++
	e.md5.add(s.md5.Sum(nil), f.Path)
	e.sha256.add(sum, f.Path)
	return nil
}

func (e *exporter) header(h *tar.Header) error {
	h.ModTime = e.time.Truncate(time.Second)
	return e.tar.WriteHeader(h)
}

func (e *exporter) list(name string, l *sumList) error {
	if err := e.header(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(TopFolder, name), Mode: 0o644, Size: int64(l.Len())}); err != nil {
		return err
	}
	_, err := io.Copy(e.tar, bytes.NewReader(l.Bytes()))
	return err
}

// counted writes to the tar, tells of it, and ends with the context.
type counted struct {
	*exporter
	path string
}

func (c *counted) Write(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.tar.Write(p)
	c.Bytes += int64(n)
	c.o.Progress.Count("export", c.path, c.Bytes, c.total)
	return n, err
}

// onlyWriter hides every other method, so that a copy goes through the buffer.
type onlyWriter struct{ io.Writer }

// compressor writes compressed bytes to w. It must be closed, after an error too.
func compressor(ctx context.Context, w io.Writer, how layer.Compression) (io.WriteCloser, error) {
	switch how {
	case layer.Gzip:
		return layer.NewGzipWriter(ctx, w, 0), nil
	case layer.Zstd: // weights compress by their letters' frequencies alone
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(8<<20), zstd.WithAllLitEntropyCompression(true))
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
