package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// Source is what Push reads and what Pull's walk reads: a part of artifact.Store.
type Source interface {
	Resolve(ctx context.Context, reference string) (v1.Descriptor, error)
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	Referrers(ctx context.Context, subject digest.Digest) ([]v1.Descriptor, error)
}

const (
	maxDepth     = 8        // of indexes within indexes
	maxNodes     = 1024     // manifests of one artifact, referrers included
	maxDocuments = 32 << 20 // bytes of them
	maxBlobs     = 20_000
	maxLevels    = 3 // of referrers of referrers
)

// signatureTags are the names under which cosign keeps what belongs to a manifest, behind sha256-HEX.
var signatureTags = []string{".sig", ".att", ".sbom"}

// node is a manifest of an artifact.
type node struct {
	d        v1.Descriptor
	raw      []byte
	doc      *artifact.Document
	tag      string // of a signature
	referrer bool   // it belongs to another manifest, as one of its referrers or by its tag, or lies within such a one
	own      bool   // no index of the artifact names it
}

// blobs lists what the manifest is made of, manifests apart.
func (n node) blobs() []v1.Descriptor {
	var all []v1.Descriptor
	if n.doc.Config != nil {
		all = append(all, *n.doc.Config)
	}
	return append(all, n.doc.Layers...)
}

// graph is an artifact with all that belongs to it: children before parents, referrers before the root, which is last.
type graph struct {
	s     Source
	nodes []node
	seen  map[digest.Digest]bool
	sizes map[digest.Digest]int64 // of everything named
	bytes int
}

// walk reads the manifests of root, and nothing else.
func walk(ctx context.Context, s Source, root v1.Descriptor) (*graph, error) {
	g := &graph{s: s, seen: map[digest.Digest]bool{}, sizes: map[digest.Digest]int64{}}
	if err := g.visit(ctx, node{d: root}, 0); err != nil {
		return nil, err
	}
	last := len(g.nodes) - 1
	top := g.nodes[last]
	g.nodes = g.nodes[:last]
	if err := g.referrers(ctx, root.Digest, 0); err != nil {
		return nil, err
	}
	g.nodes = append(g.nodes, top)
	return g, nil
}

// visit adds a manifest behind what it names.
func (g *graph) visit(ctx context.Context, n node, depth int) error {
	if err := g.note(n.d); err != nil || g.seen[n.d.Digest] {
		return err
	}
	g.seen[n.d.Digest] = true
	if !isManifest(n.d.MediaType) {
		return fault.Mark(fault.Input, fmt.Errorf("%s: %s is no manifest that is known", n.d.Digest, tameText(n.d.MediaType, 100)))
	}
	if depth > maxDepth || len(g.seen) > maxNodes {
		return fault.Mark(fault.Untrusted, fmt.Errorf("artifact: more than %d manifests, or %d within each other", maxNodes, maxDepth))
	}
	var err error
	if n.raw, err = g.s.Manifest(ctx, n.d); err != nil {
		return err
	}
	if g.bytes += len(n.raw); g.bytes > maxDocuments {
		return fault.Mark(fault.Untrusted, fmt.Errorf("artifact: more than %d bytes of manifests", maxDocuments))
	}
	if n.doc, err = artifact.Decode(n.raw, n.d); err != nil {
		return err
	}
	for _, d := range n.doc.Manifests {
		if err := g.visit(ctx, node{d: d, referrer: n.referrer}, depth+1); err != nil {
			return err
		}
	}
	for _, d := range n.blobs() {
		if err := g.note(d); err != nil {
			return err
		}
	}
	g.nodes = append(g.nodes, n)
	return nil
}

// note refuses a digest that goes with two sizes: one of them is a lie.
func (g *graph) note(d v1.Descriptor) error {
	if err := sound(d); err != nil {
		return err
	}
	if size, ok := g.sizes[d.Digest]; ok && size != d.Size {
		return fault.Mark(fault.Untrusted, fmt.Errorf("%s: it is said to have %d bytes and %d", d.Digest, size, d.Size))
	}
	if g.sizes[d.Digest] = d.Size; len(g.sizes) > maxBlobs {
		return fault.Mark(fault.Untrusted, fmt.Errorf("artifact: more than %d blobs", maxBlobs))
	}
	return nil
}

// referrers adds what belongs to subject: SBOM, provenance, signatures, and what belongs to those.
func (g *graph) referrers(ctx context.Context, subject digest.Digest, level int) error {
	if level >= maxLevels {
		return nil
	}
	found, err := g.s.Referrers(ctx, subject)
	if err != nil {
		return err
	}
	for _, d := range found {
		raw, err := g.s.Manifest(ctx, d)
		if err != nil {
			return err
		}
		m, err := artifact.Decode(raw, d)
		if err != nil {
			return err
		}
		if m.Subject == nil || m.Subject.Digest != subject { // a list may lie
			continue
		}
		if err := g.belonging(ctx, node{d: d, referrer: true, own: true}, level); err != nil {
			return err
		}
	}
	for _, suffix := range signatureTags {
		tag := artifact.TagOf(subject, suffix)
		d, err := g.s.Resolve(ctx, tag)
		if errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := g.belonging(ctx, node{d: d, tag: tag, referrer: true, own: true}, level); err != nil {
			return err
		}
	}
	return nil
}

func (g *graph) belonging(ctx context.Context, n node, level int) error {
	if g.seen[n.d.Digest] {
		return nil
	}
	n.d.Annotations, n.d.Platform = nil, nil
	if err := g.visit(ctx, n, 0); err != nil {
		return err
	}
	return g.referrers(ctx, n.d.Digest, level+1)
}

// distinct lists the blobs of nodes, each once, the largest first: no straggler is left for the end.
func distinct(nodes []node) []v1.Descriptor {
	var all []v1.Descriptor
	seen := map[digest.Digest]bool{}
	for _, n := range nodes {
		for _, d := range n.blobs() {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				all = append(all, d)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b v1.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	return all
}
