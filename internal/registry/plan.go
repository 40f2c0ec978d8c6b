package registry

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

const (
	diskType       = "application/vnd.agibake.disk.v1." // and the format
	annotationSize = "org.agibake.disk.size"
)

// maxAttached is the most bytes that a manifest which belongs to the artifact may bring along; of a larger one only the
// manifest comes.
const maxAttached = 128 << 20

func total(n node) (sum int64) {
	for _, d := range n.blobs() {
		if sum += d.Size; sum > maxAttached {
			break
		}
	}
	return sum
}

// plan decides where each wanted blob goes and what of it is there.
func (w *pulling) plan(ctx context.Context, g *graph) error {
	if err := w.folder(); err != nil {
		return err
	}
	planned, names := map[digest.Digest]bool{}, map[string]bool{}
	var plain []node
	for _, n := range g.nodes {
		d := n.d
		d.ArtifactType = n.doc.ArtifactType
		if len(d.Annotations) == 0 {
			d.Annotations = n.doc.Annotations
		}
		format, disk := strings.CutPrefix(n.doc.ArtifactType, diskType)
		switch {
		case !n.referrer && !isIndex(d.MediaType) && w.o.Want != nil && !w.o.Want(d):
		case n.referrer && total(n) > maxAttached: // whoever may push could attach anything
		case disk && w.o.Files != "":
			t, err := diskFile(n, format, w.o.Files)
			if err != nil {
				return fmt.Errorf("disk %s: %w", n.d.Digest, err)
			}
			if low := strings.ToLower(t.path); names[low] {
				return fault.Mark(fault.Untrusted, fmt.Errorf("disk %s: two of them are called %s", n.d.Digest, filepath.Base(t.path)))
			} else {
				names[low] = true
			}
			if err := w.diskThere(ctx, t); err != nil {
				return err
			}
			w.targets = append(w.targets, t)
			for _, p := range t.parts {
				planned[p.d.Digest] = true
				w.got.Total += p.d.Size
			}
			n.doc = &artifact.Document{Config: n.doc.Config}
			plain = append(plain, n)
		default:
			plain = append(plain, n)
		}
	}
	for _, d := range distinct(plain) {
		if planned[d.Digest] {
			continue
		}
		if err := w.planBlob(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (w *pulling) planBlob(ctx context.Context, d v1.Descriptor) error {
	w.got.Total += d.Size
	have, err := w.to.Has(ctx, d)
	switch {
	case err != nil:
		return err
	case have:
		w.got.Present++
		w.meter.done += d.Size
		return nil
	case d.Size == 0:
		return w.to.PutBlob(ctx, d, bytes.NewReader(nil))
	}
	path, err := w.to.Path(d.Digest)
	if err != nil {
		return err
	}
	t, err := newTarget(path, []part{{d: d}})
	w.targets = append(w.targets, t)
	return err
}
