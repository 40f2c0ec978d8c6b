// Package layer turns a tree into a canonical tar, the uncompressed form of an OCI layer, and a tar into a tree.
//
// The tar is the same for the same tree whatever the host, the user or the day: entries in the order of
// tree.Entries, POSIX ustar headers with pax records only where ustar cannot hold a value, no access or change
// times, numeric owners without names, folder names that end in a slash.
package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agibake/agibake/internal/tree"
)

// xattrPrefix is the pax keyword prefix under which star, GNU tar and OCI (image-spec, layer.md) keep attributes.
const xattrPrefix = "SCHILY.xattr."

const chunk = 1 << 20

// Write writes t to w as a canonical tar and returns the digest of the bytes written, "sha256:…", which is the
// layer's diff ID (OCI image-spec, config.md). The first name of a set of hard links, in the order of tree.Entries,
// carries the content; the others link to it. A hard link whose target t lacks is an error.
func Write(ctx context.Context, w io.Writer, t *tree.Tree) (string, error) {
	sum := newHasher(w)
	defer sum.stop()
	buf := bufio.NewWriterSize(sum, chunk)
	tw := tar.NewWriter(buf)
	lw := &writer{ctx: ctx, tar: tw, tree: t, first: map[string]string{}, copy: make([]byte, chunk)}
	for _, e := range t.Entries() {
		if err := lw.entry(e); err != nil {
			return "", fmt.Errorf("write layer: %s: %w", e.Path, err)
		}
	}
	if err := errors.Join(tw.Close(), buf.Flush()); err != nil {
		return "", fmt.Errorf("write layer: %w", err)
	}
	return sum.digest(), nil
}

type writer struct {
	ctx   context.Context
	tar   *tar.Writer
	tree  *tree.Tree
	first map[string]string // the tree path that holds a hard-linked content → the first name written for it
	copy  []byte
}

func (w *writer) entry(e *tree.Entry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	name := e.Path
	target, err := w.target(e)
	if err != nil {
		return err
	}
	h, err := header(name, target)
	if err != nil {
		return err
	}
	if target.Type != tree.Dir {
		if first, seen := w.first[target.Path]; seen {
			h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
			return w.tar.WriteHeader(h)
		}
		w.first[target.Path] = name
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	if target.Type == tree.File && target.Size > 0 {
		return w.content(target)
	}
	return nil
}

// target follows hard links to the entry that holds the content and attributes.
func (w *writer) target(e *tree.Entry) (*tree.Entry, error) {
	for range 40 {
		if e.Type != tree.Hardlink {
			return e, nil
		}
		next := w.tree.Lookup(e.Link)
		if next == nil || next.Type == tree.Dir {
			return nil, fmt.Errorf("hard link to %s, which is not a file of the tree", e.Link)
		}
		e = next
	}
	return nil, errors.New("hard links in a circle")
}

func header(name string, e *tree.Entry) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(e.Mode & 0o7777), Uid: e.UID, Gid: e.GID, ModTime: time.Unix(e.ModTime, 0),
	}
	switch e.Type {
	case tree.File:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
		if e.Size > 0 && e.Open == nil {
			return nil, errors.New("file without content")
		}
	case tree.Dir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case tree.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case tree.Char, tree.Block:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
		if e.Type == tree.Block {
			h.Typeflag = tar.TypeBlock
		}
	case tree.Fifo:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, fmt.Errorf("unknown file type %d", e.Type)
	}
	for k, v := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string, len(e.Xattrs))
		}
		h.PAXRecords[xattrPrefix+k] = v
	}
	return h, nil
}

func (w *writer) content(e *tree.Entry) error {
	r, err := e.Open()
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{w.tar}, onlyReader{w.ctx, r}, w.copy)
	if err == nil && n != e.Size {
		err = fmt.Errorf("%d bytes where %d were announced", n, e.Size)
	}
	return errors.Join(err, r.Close()) // a close may say that the source changed meanwhile
}

// onlyReader and onlyWriter hide every other method, so that io.CopyBuffer uses the large buffer and sees ctx.
type onlyReader struct {
	ctx context.Context
	r   io.Reader
}

func (r onlyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

type onlyWriter struct{ io.Writer }
