package bake

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
)

// maxFiles is how many files of a layer are named; maxEntries how many it may have.
const (
	maxFiles   = 50
	maxEntries = 1 << 20
)

// layer names the files in which two layers differ.
func (c *Comparison) layer(ctx context.Context, part string, theirs, ours side, i int) error {
	x, err := theirs.files(ctx, i)
	if errors.Is(err, artifact.ErrNotFound) {
		c.add(part, "", "it differs; its files are not here to be compared")
		return nil
	}
	if err != nil {
		return err
	}
	y, err := ours.files(ctx, i)
	if err != nil {
		return err
	}
	names := maps.Clone(x)
	maps.Copy(names, y)
	differing := 0
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if x[name] == y[name] {
			continue
		}
		if differing++; differing > maxFiles {
			continue
		}
		switch {
		case x[name] == member{}:
			c.add(part, name, "only ours has it")
		case y[name] == member{}:
			c.add(part, name, "ours lacks it")
		case x[name].sum != y[name].sum:
			c.add(part, name, "other content")
		default:
			c.add(part, name, "%s, ours is %s", x[name].attributes, y[name].attributes)
		}
	}
	if differing > maxFiles {
		c.add(part, "", "and %d files more", differing-maxFiles)
	}
	if differing == 0 {
		c.add(part, "", "the same files in another tar")
	}
	return nil
}

// member is an entry of a layer.
type member struct{ attributes, sum string }

// files reads layer number i of the rootfs image.
func (w side) files(ctx context.Context, i int) (map[string]member, error) {
	d := w.a.RootfsLayers[i]
	r, err := w.s.Blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v, err := artifact.Verified(r, d)
	if err != nil {
		return nil, err
	}
	z, err := layer.Decompress(ctx, d.MediaType, v)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	files := map[string]member{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", d.Digest, err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, t); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", d.Digest, err)
		}
		attributes := fmt.Sprintf("%c %04o %d:%d %d B %s %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.UTC().Format(time.RFC3339), h.Linkname)
		if len(h.PAXRecords) > 0 {
			attributes += fmt.Sprintf(" %.200q", fmt.Sprint(h.PAXRecords))
		}
		files[h.Name] = member{attributes, hex.EncodeToString(sum.Sum(nil))}
		if len(files) > maxEntries {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("layer %s: more than %d files", d.Digest, maxEntries))
		}
	}
}
