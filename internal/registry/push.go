package registry

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

// PushOptions are how Push works.
type PushOptions struct {
	MountFrom string // HOST/REPOSITORY of the same registry that may hold some of the blobs; "" for none
}

// Sent says what Push did. Bytes can exceed what was missing, where faults made it send some again.
type Sent struct {
	Sent, Skipped, Mounted int   // blobs, manifests apart
	Bytes                  int64 // of blobs, sent
	Total                  int64 // of blobs, in all
}

// Push brings the artifact of root with all its referrers from a layout into a repository: blobs first, as many at a
// time as the repository's options say, then manifests, children before parents, and the tag last, so that nobody
// sees an artifact that is not whole. What the registry has is not sent.
func Push(ctx context.Context, from Source, root v1.Descriptor, to *Repository, o PushOptions, p progress.Func) (*Sent, error) {
	if d, err := digest.Parse(to.ref); err == nil && d != root.Digest {
		return nil, fault.Mark(fault.Input, fmt.Errorf("push to %s: what is pushed is %s, not %s", to, root.Digest, d))
	}
	mount := ""
	if o.MountFrom != "" {
		path, ok := strings.CutPrefix(o.MountFrom, to.name.RegistryStr()+"/")
		if !ok {
			return nil, fault.Mark(fault.Input, fmt.Errorf("mount from %.200q: it is not in the registry %s", o.MountFrom, to.name.RegistryStr()))
		}
		mount = path
	}
	to.sweepSessions()
	g, err := walk(ctx, from, root)
	if err != nil {
		return nil, fmt.Errorf("push to %s: %w", to, err)
	}
	w := &pushing{from: from, to: to, mount: mount, p: p, held: map[digest.Digest]int64{}, meter: meter{p: p, stage: "push", item: to.String()}}
	if err := w.blobs(ctx, g); err != nil {
		return nil, err
	}
	for _, n := range g.nodes {
		if err := w.manifest(ctx, n, n.d.Digest == root.Digest); err != nil {
			return nil, err
		}
	}
	return &w.sent, nil
}

type pushing struct {
	from  Source
	to    *Repository
	mount string
	p     progress.Func

	mu   sync.Mutex
	sent Sent
	held map[digest.Digest]int64 // bytes of each blob that the registry has

	meter meter
}

// blobs sends what is missing, the largest first, so that no straggler is left for the end.
func (w *pushing) blobs(ctx context.Context, g *graph) error {
	all := distinct(g.nodes)
	for _, d := range all {
		w.sent.Total += d.Size
	}
	w.meter.total = w.sent.Total
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(w.to.o.Concurrency)
	for _, d := range all {
		group.Go(func() error { return w.blob(ctx, d) })
	}
	return group.Wait()
}

func (w *pushing) blob(ctx context.Context, d v1.Descriptor) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	have, err := w.to.Has(ctx, d)
	if err != nil {
		return err
	}
	if have {
		w.note(d, d.Size)
		w.add(func(s *Sent) { s.Skipped++ })
		return nil
	}
	u := &upload{r: w.to, d: d, mount: w.mount,
		open: func(offset int64) (io.ReadCloser, error) { return w.from.Blob(ctx, d, offset) },
		sent: func(n int64) { w.add(func(s *Sent) { s.Bytes += n }) },
		held: func(at int64) { w.note(d, at) },
	}
	mounted, err := u.run(ctx)
	if err != nil {
		return fmt.Errorf("push blob %s to %s: %w", d.Digest, w.to, err)
	}
	w.add(func(s *Sent) {
		if mounted {
			s.Mounted++
		} else {
			s.Sent++
		}
	})
	return nil
}

func (w *pushing) add(change func(*Sent)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.sent)
}

// note reports how much of a blob the registry has.
func (w *pushing) note(d v1.Descriptor, at int64) {
	w.mu.Lock()
	more := at - w.held[d.Digest]
	w.held[d.Digest] = at
	w.mu.Unlock()
	w.meter.add(more)
}

// manifest puts one unless it is there. A referrer that is there may still be missing from the list of its subject's.
func (w *pushing) manifest(ctx context.Context, n node, root bool) error {
	tag := n.tag
	if root {
		tag = w.to.tag()
	}
	have := false
	switch {
	case tag != "":
		d, err := w.to.Resolve(ctx, tag)
		have = err == nil && d.Digest == n.d.Digest
	case n.doc.Subject == nil:
		var err error
		if have, err = w.to.hasManifest(ctx, n.d); err != nil {
			return err
		}
	default:
		found, err := w.to.Referrers(ctx, n.doc.Subject.Digest)
		if err != nil {
			return err
		}
		for _, d := range found {
			have = have || d.Digest == n.d.Digest
		}
		if have {
			if have, err = w.to.hasManifest(ctx, n.d); err != nil {
				return err
			}
		}
	}
	if have {
		return nil
	}
	w.p.Step("push", "manifest "+n.d.Digest.String())
	return w.to.PutManifest(ctx, n.d, n.raw, tag)
}

var _ artifact.Store = (*Repository)(nil)
