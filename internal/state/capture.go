package state

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

// Options are how Capture works.
type Options struct {
	Info     Info      // Name, Created, Note, Exclude, Version and Live are the caller's
	Parent   *Snapshot // of the same store; what it holds is not stored again
	Memo     *Memo     // may be nil
	Seal     *Seal     // must be the parent's if that is sealed
	Tags     []string  // the names that the snapshot gets
	Progress progress.Func
}

// Captured says what Capture did.
type Captured struct {
	Index v1.Descriptor
	Info  Info
	Read  int64 // bytes of files that had to be read
	Added int64 // bytes of blobs that the parent does not have
	Blobs int   // of them
}

// Capture stores what was found as a snapshot. Files must not change while they are read: copy what may before, and let
// From say where. What the parent holds or the memo knows is neither read nor stored again. Errors are those of the files
// and of the store.
func Capture(ctx context.Context, to artifact.Store, list []Found, o Options) (*Captured, error) {
	c, err := newCapture(ctx, to, o)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Kind == File {
			c.total += list[i].Size
		}
	}
	start := time.Now()
	if err := c.read(ctx, list); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	t, err := newTree(list)
	var r *Captured
	if err == nil {
		r, err = c.store(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return r, o.Memo.save(list, start)
}

// newTree makes the tree of files whose sums and pieces are known.
func newTree(list []Found) (*Tree, error) {
	t := &Tree{}
	for _, f := range list {
		t.Entries = append(t.Entries, f.Entry)
	}
	slices.SortFunc(t.Entries, compareEntries)
	return t, t.check()
}

func newCapture(ctx context.Context, to artifact.Store, o Options) (*capture, error) {
	c := &capture{to: to, o: o, have: [2]map[Sum]bool{{}, {}}}
	var err error
	if c.blobs, err = o.Parent.stored(ctx, to); err != nil {
		return nil, err
	}
	for _, b := range c.blobs {
		for _, p := range b.Pieces {
			c.have[b.lane()][p.Sum] = true
		}
	}
	c.old = len(c.blobs)
	return c, nil
}

// store writes the documents over pieces that are stored.
func (c *capture) store(ctx context.Context, t *Tree) (*Captured, error) {
	used, err := c.choose(ctx, t)
	if err != nil {
		return nil, err
	}
	r := &Captured{Info: c.o.Info, Read: c.done}
	for _, b := range c.blobs[c.old:] {
		r.Added, r.Blobs = r.Added+b.Size, r.Blobs+1
	}
	r.Index, err = c.assemble(ctx, t, used, &r.Info)
	return r, err
}

type capture struct {
	to    artifact.Store
	o     Options
	pack  *packer
	only  bool // sums and pieces are wanted, nothing is stored
	total int64

	mu    sync.Mutex
	have  [2]map[Sum]bool // by lane, pieces that are stored or about to be
	blobs []Blob          // that hold them: the parent's first
	old   int             // number of these
	done  int64           // bytes read
	seen  int64           // bytes read or known
}

// Lanes: a model's manifest names its pieces as blobs, so that a piece in a pack is of no use to it. Both lanes work at the
// same time, and what either of them stores must not depend on which is faster.
const (
	inPacks = 0
	single  = 1
)

func lane(path string) int {
	if isModel(path) {
		return single
	}
	return inPacks
}

func (b *Blob) lane() int {
	if b.Packed {
		return inPacks
	}
	return single
}

// first tells whether a piece has to be stored, once for each.
func (c *capture) first(lane int, s Sum) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.have[lane][s]
	c.have[lane][s] = true
	return !have && !c.only
}

func (c *capture) report(path string, n int64, read bool) {
	c.mu.Lock()
	c.seen += n
	if read {
		c.done += n
	}
	seen := c.seen
	c.mu.Unlock()
	c.o.Progress.Count("capture", path, seen, c.total)
}

// read fills in sums and pieces, models beside the rest: hashing the ones and compressing the others takes a core each.
func (c *capture) read(ctx context.Context, list []Found) error {
	packing, stop := context.WithCancel(ctx)
	defer stop()
	c.pack = newPacker(packing, c.to, c.o.Seal)
	var unknown [2][]*Found
	for i := range list {
		if f := &list[i]; f.Kind == File && !c.recalled(f) {
			unknown[lane(f.Path)] = append(unknown[lane(f.Path)], f)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.small(ctx, unknown[inPacks]) })
	g.Go(func() error { return c.large(ctx, unknown[single]) })
	err := g.Wait()
	if err != nil {
		stop()
	}
	packs, err := c.pack.finish(err)
	c.blobs = append(c.blobs, packs...)
	return err
}

func isModel(path string) bool { return strings.HasPrefix(path, modelsDir+"/") }

// recalled fills in what is known of a file that did not change and is stored whole.
func (c *capture) recalled(f *Found) bool {
	r, ok := c.o.Memo.recall(f)
	if !ok {
		return false
	}
	for _, p := range r.Pieces {
		if !c.only && !c.have[lane(f.Path)][p.Sum] {
			return false
		}
	}
	f.Sum, f.Size, f.Records, f.Pieces = r.Sum, r.Size, r.Records, r.Pieces
	c.report(f.Path, f.Size, false)
	return true
}

// choose returns the blobs that the tree needs, in the order of their first use. Of packs that are hardly used any more
// the rest is packed anew, so that what was deleted does not stay for ever.
func (c *capture) choose(ctx context.Context, t *Tree) ([]Blob, error) {
	at := [2]map[Sum]int{{}, {}} // which blob holds a piece
	for i := range c.blobs {
		b := &c.blobs[i]
		for _, p := range b.Pieces {
			at[b.lane()][p.Sum] = i
		}
	}
	live := make([]map[Sum]bool, len(c.blobs)) // pieces that are used
	var order []int
	for _, e := range t.Entries {
		for _, p := range e.Pieces {
			i, ok := at[lane(e.Path)][p.Sum]
			if !ok {
				return nil, fmt.Errorf("piece %s of %s is in no blob", p.Sum, e.Path)
			}
			if live[i] == nil {
				order = append(order, i)
				live[i] = map[Sum]bool{}
			}
			live[i][p.Sum] = true
		}
	}
	var used, poor []Blob
	wanted := map[Sum]bool{} // of poor ones
	for _, i := range order {
		b := c.blobs[i]
		n := int64(0)
		for _, p := range b.Pieces {
			if live[i][p.Sum] {
				n += p.Size
			}
		}
		if !b.Packed || n*4 >= b.raw() {
			used = append(used, b)
			continue
		}
		poor = append(poor, b)
		for s := range live[i] {
			wanted[s] = true
		}
	}
	packs, err := c.repack(ctx, poor, wanted)
	c.blobs = append(c.blobs, packs...)
	return append(used, packs...), err
}

// repack writes the pieces of packs that are still wanted into new ones.
func (c *capture) repack(ctx context.Context, poor []Blob, wanted map[Sum]bool) ([]Blob, error) {
	if len(poor) == 0 {
		return nil, nil
	}
	p := newPacker(ctx, c.to, c.o.Seal)
	m := newBuffers()
	var err error
	for i := range poor {
		if err == nil {
			err = readBlob(ctx, c.to, &poor[i], c.o.Seal, m, func(p Piece) bool { return wanted[p.Sum] }, p.add)
		}
	}
	return p.finish(err)
}

// sumOf names bytes.
func sumOf(data []byte) Sum { return sha256.Sum256(data) }
