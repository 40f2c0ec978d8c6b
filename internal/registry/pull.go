package registry

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

// PullOptions are how Pull works.
type PullOptions struct {
	// Files is the folder for disks: they become files of their own there, not blobs. "" keeps them as blobs.
	Files string
	// Tag names the artifact in the layout; "" gives it no name.
	Tag string
	// Want chooses among the manifests of an index by their descriptors, with artifactType and annotations filled in.
	// Of those not wanted, only the manifest comes along. nil wants all.
	Want func(v1.Descriptor) bool
}

// Got says what Pull did.
type Got struct {
	Fetched, Present int      // blobs and parts of disks
	Bytes            int64    // of them, received
	Total            int64    // of them, in all
	Files            []string // paths of the disks
}

// Pull brings the artifact of root with all its referrers from a repository into a layout: manifests, then what is
// wanted, several transfers at a time. Whether root is to be trusted, the caller has found out before. A transfer that
// was cut goes on where it stopped, in another process too. Each byte is written once and hashed on its way; nothing has
// its final name before its digest holds, and the layout lists the artifact only when everything is there.
func Pull(ctx context.Context, from *Repository, root v1.Descriptor, to *artifact.Layout, o PullOptions, p progress.Func) (*Got, error) {
	g, err := walk(ctx, from, root)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", from, err)
	}
	w := &pulling{from: from, to: to, o: o, meter: meter{p: p, stage: "pull", item: from.String()}}
	err = w.plan(ctx, g)
	if err == nil {
		w.meter.total = w.got.Total
		err = w.room()
	}
	if err == nil {
		err = w.fetch(ctx)
	}
	if err == nil {
		err = w.list(ctx, g, root)
	}
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", from, err)
	}
	return &w.got, nil
}

type pulling struct {
	from    *Repository
	to      *artifact.Layout
	o       PullOptions
	meter   meter
	targets []*target

	mu  sync.Mutex
	got Got
}

// received counts n bytes that came over the network.
func (w *pulling) received(n int64) {
	w.mu.Lock()
	w.got.Bytes += n
	w.mu.Unlock()
	w.meter.add(n)
}

func (w *pulling) count(fetched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fetched {
		w.got.Fetched++
	} else {
		w.got.Present++
	}
}

// fetch brings everything planned.
func (w *pulling) fetch(ctx context.Context) error {
	type job struct {
		size int64
		run  func(context.Context) error
	}
	var jobs []job
	for _, t := range w.targets {
		defer t.close()
		for i, part := range t.parts {
			jobs = append(jobs, job{part.d.Size, func(ctx context.Context) error { return w.part(ctx, t, i) }})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(b.size, a.size) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(w.from.o.Concurrency)
	for _, j := range jobs {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return j.run(ctx)
		})
	}
	return group.Wait()
}

// list gives the layout the manifests, the artifact last.
func (w *pulling) list(ctx context.Context, g *graph, root v1.Descriptor) error {
	for _, n := range g.nodes {
		var err error
		switch {
		case n.d.Digest == root.Digest:
			err = w.to.PutManifest(ctx, n.d, n.raw, w.o.Tag)
		case n.own:
			err = w.to.PutManifest(ctx, n.d, n.raw, n.tag)
		default:
			err = w.to.PutBlob(ctx, n.d, bytes.NewReader(n.raw))
		}
		if err != nil {
			return err
		}
	}
	for _, t := range w.targets {
		if t.disk {
			w.got.Files = append(w.got.Files, t.path)
		}
	}
	return nil
}

// folder makes sure that the one for disks is there.
func (w *pulling) folder() error {
	if w.o.Files == "" {
		return nil
	}
	return os.MkdirAll(w.o.Files, 0o755)
}
