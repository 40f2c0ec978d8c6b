package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// diskFile is the file that a disk's manifest describes, in one piece or in parts to be joined.
func diskFile(n node, format, folder string) (*target, error) {
	var parts []part
	file, size := "", int64(0)
	for i, d := range n.doc.Layers {
		name, number := splitTitle(d.Annotations[v1.AnnotationTitle])
		if err := fileName(name); err != nil {
			return nil, err
		}
		one := len(n.doc.Layers) == 1 && number == 0
		if i == 0 {
			file = name
		}
		if name != file || !one && number != i+1 || d.Size == 0 {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("layer %d, %q, is not the next part of %q", i+1, name, file))
		}
		parts = append(parts, part{d: d, offset: size})
		size += d.Size
	}
	if len(parts) == 0 || format == "" || !strings.HasSuffix(file, "."+format) {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("%q is no file of format %q", file, tameText(format, 20)))
	}
	if said := n.doc.Annotations[annotationSize]; said != "" && said != strconv.FormatInt(size, 10) {
		return nil, fault.Mark(fault.Untrusted, fmt.Errorf("its parts have %d bytes together, not %s", size, tameText(said, 20)))
	}
	t, err := newTarget(filepath.Join(folder, file), parts)
	if t != nil {
		t.disk = true
	}
	return t, err
}

// diskThere looks whether a disk is there already: under its name, or as a blob. Another file of its name stays as it is.
func (w *pulling) diskThere(ctx context.Context, t *target) error {
	info, err := os.Lstat(t.path)
	if errors.Is(err, os.ErrNotExist) && len(t.parts) == 1 {
		if blob, err := w.to.Path(t.parts[0].d.Digest); err == nil && os.Link(blob, t.path) == nil {
			info, err = os.Lstat(t.path)
			if err != nil {
				return err
			}
			if info.Size() == t.size && t.holds(ctx) {
				return w.present(t)
			}
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), os.Remove(t.path))
			}
			os.Remove(t.path)
			return os.Remove(blob) // it is not what its name says
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != t.size || !t.holds(ctx) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is there and is something else", t.path)), "move it away, or pull to another folder")
	}
	return w.present(t)
}

func (w *pulling) present(t *target) error {
	t.there = true
	w.meter.done += t.size
	w.got.Present += len(t.parts)
	return w.offer(t)
}

// offer lets the layout find the blobs of a disk's file.
func (w *pulling) offer(t *target) error {
	if len(t.parts) == 1 {
		blob, err := w.to.Path(t.parts[0].d.Digest)
		if err != nil {
			return err
		}
		if err := os.Link(t.path, blob); err == nil || errors.Is(err, os.ErrExist) {
			return nil
		}
	}
	for _, p := range t.parts {
		w.to.Provide(p.d, t.path, p.offset)
	}
	return nil
}

// holds tells whether the file at the target's final name has the right bytes.
func (t *target) holds(ctx context.Context) bool {
	f, err := os.Open(t.path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range t.parts {
		v, err := artifact.Verified(io.NewSectionReader(f, p.offset, p.d.Size), p.d)
		if err != nil {
			return false
		}
		for buf := make([]byte, 1<<20); err == nil; {
			if ctx.Err() != nil {
				return false
			}
			_, err = v.Read(buf)
		}
		if !errors.Is(err, io.EOF) {
			return false
		}
	}
	return true
}
