package format

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/sparse"
)

// clusterSize is the piece of disk that is compressed at once: a qcow2 cluster and a VMDK grain.
const clusterSize = qcow2.ClusterSize

var _ [vmdk.GrainSize]byte = [clusterSize]byte{}

// batch is how many clusters are read at once.
const batch = 8

// unit is a run of clusters on its way, with the buffers it keeps for the next run.
type unit struct {
	first  int64  // number of the first cluster
	stored int64  // place in the qcow2 image of a run that is stored there without a look at it, else 0
	raw    []byte // whole clusters, zeros after the disk's end
	parts  [batch]part
	buf    []byte        // holds raw
	ready  chan struct{} // closed once the fields above are set
	users  atomic.Int32  // sinks that have yet to take it
}

// part is what became of one cluster.
type part struct {
	zero     bool
	qcow2    []byte // nil where the cluster is stored as it is
	vmdk     []byte
	qcow2Buf []byte
}

// clusters is how many clusters the unit has.
func (u *unit) clusters() int64 { return int64(len(u.raw) / clusterSize) }

// cluster returns one of them, counted in the unit.
func (u *unit) cluster(i int64) []byte { return u.raw[i*clusterSize : (i+1)*clusterSize] }

// run reads the disk once: a planner hands out its units, workers read and compress them in any order, one goroutine
// a sink takes them in order. The number of units bounds the memory, and makes the fast wait for the slow.
func (e *encoder) run(ctx context.Context, p progress.Func) error {
	g, ctx := errgroup.WithContext(ctx)
	workers := max(2, e.jobs) // one writes while the other reads
	units := 2*workers + 6
	free, work := make(chan *unit, units), make(chan *unit)
	for range units {
		free <- &unit{buf: sparse.Aligned(batch * clusterSize)}
	}
	orders := make([]chan *unit, len(e.sinks))
	for i := range e.sinks {
		orders[i] = make(chan *unit, units)
		g.Go(func() error { return drain(ctx, e.sinks[i], orders[i], free) })
	}
	for range workers {
		g.Go(func() error { return e.compress(ctx, work) })
	}
	g.Go(func() error { return e.plan(ctx, free, work, orders, p) })
	return g.Wait()
}

// plan hands out the clusters that may hold data, in ascending order.
func (e *encoder) plan(ctx context.Context, free <-chan *unit, work chan<- *unit, orders []chan *unit, p progress.Func) error {
	defer close(work)
	for _, order := range orders {
		defer close(order)
	}
	const report = 32 // units between two progress events
	places := placer{left: e.stored, at: qcow2.StoredStart}
	next, sent := int64(0), 0
	for extent, err := range e.disk.Extents(e.size) {
		if err != nil {
			return err
		}
		next = max(next, extent.Off/clusterSize)
		for end := (extent.Off + extent.Len + clusterSize - 1) / clusterSize; next < end; {
			var u *unit
			select {
			case u = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			n, stored := places.next(next, min(batch, end-next))
			u.first, u.stored, u.raw, u.ready = next, stored, u.buf[:n*clusterSize], make(chan struct{})
			u.users.Store(int32(len(orders)))
			for _, order := range orders {
				order <- u // never blocks: it has room for every unit
			}
			select {
			case work <- u:
			case <-ctx.Done():
				return ctx.Err()
			}
			next += n
			if sent++; sent%report == 0 {
				p.Count("format", e.names(), next*clusterSize, e.size)
			}
		}
	}
	return nil
}

// drain gives a sink its units.
func drain(ctx context.Context, s sink, order <-chan *unit, free chan<- *unit) error {
	for u := range order {
		select {
		case <-u.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.write(u); err != nil {
			return err
		}
		if u.users.Add(-1) == 0 {
			free <- u
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.close(ctx)
}
