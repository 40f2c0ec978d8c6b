package format

import (
	"context"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/sparse"
)

// unitSize is the piece of disk that is compressed at once: a qcow2 cluster and a VMDK grain.
const unitSize = qcow2.ClusterSize

var _ [vmdk.GrainSize]byte = [unitSize]byte{}

// unit is a piece of disk on its way, with the buffers it keeps for the next piece.
type unit struct {
	number int64
	raw    []byte // unitSize bytes, zeros after the disk's end
	zero   bool
	qcow2  []byte // nil where the cluster is stored as it is
	vmdk   []byte

	qcow2Buf []byte
	ready    chan struct{} // closed once the fields above are set
	users    atomic.Int32  // sinks that have yet to take it
}

// run reads the disk once: a planner hands out its units, workers read and compress them in any order, one goroutine
// a sink takes them in order. The number of units bounds the memory, and makes the fast wait for the slow.
func (e *encoder) run(ctx context.Context, p progress.Func) error {
	g, ctx := errgroup.WithContext(ctx)
	const slack = 4 << 10 // what compression may add to a unit
	units := 4*e.jobs + 8
	free, work := make(chan *unit, units), make(chan *unit)
	for range units {
		free <- &unit{raw: make([]byte, unitSize), qcow2Buf: make([]byte, 0, unitSize+slack), vmdk: make([]byte, 0, unitSize+slack)}
	}
	orders := make([]chan *unit, len(e.sinks))
	for i := range e.sinks {
		orders[i] = make(chan *unit, units)
		g.Go(func() error { return drain(ctx, e.sinks[i], orders[i], free) })
	}
	for range e.jobs {
		g.Go(func() error { return e.compress(ctx, work) })
	}
	g.Go(func() error { return e.plan(ctx, free, work, orders, p) })
	return g.Wait()
}

// plan hands out the units that may hold data, in ascending order.
func (e *encoder) plan(ctx context.Context, free <-chan *unit, work chan<- *unit, orders []chan *unit, p progress.Func) error {
	defer close(work)
	for _, order := range orders {
		defer close(order)
	}
	const report = 256 // units between two progress events
	next, sent := int64(0), 0
	for extent, err := range e.disk.Extents(e.size) {
		if err != nil {
			return err
		}
		for next = max(next, extent.Off/unitSize); next*unitSize < extent.Off+extent.Len; next++ {
			var u *unit
			select {
			case u = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			u.number, u.ready = next, make(chan struct{})
			u.users.Store(int32(len(orders)))
			for _, order := range orders {
				order <- u // never blocks: it has room for every unit
			}
			select {
			case work <- u:
			case <-ctx.Done():
				return ctx.Err()
			}
			if sent++; sent%report == 0 {
				p.Count("format", e.names(), next*unitSize, e.size)
			}
		}
	}
	return nil
}

// compress is one worker.
func (e *encoder) compress(ctx context.Context, work <-chan *unit) error {
	c, err := e.codec()
	if err != nil {
		return err
	}
	for u := range work {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.read(u); err != nil {
			return err
		}
		if u.zero = sparse.IsZero(u.raw); !u.zero {
			if err := c.compress(u); err != nil {
				return err
			}
			if err := e.copy(u); err != nil {
				return err
			}
		}
		close(u.ready)
	}
	return nil
}

func (e *encoder) read(u *unit) error {
	off := u.number * unitSize
	n := min(unitSize, e.size-off)
	clear(u.raw[n:])
	if _, err := e.disk.ReadAt(u.raw[:n], off); err != nil {
		if err == io.EOF { // ReadAt reports it only when bytes are missing
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// copy writes the unit to the raw output, if there is one.
func (e *encoder) copy(u *unit) error {
	if e.copyTo == nil {
		return nil
	}
	off := u.number * unitSize
	_, err := e.copyTo.WriteAt(u.raw[:min(unitSize, e.size-off)], off)
	return err
}

// drain gives a sink its units.
func drain(ctx context.Context, s sink, order <-chan *unit, free chan<- *unit) error {
	for u := range order {
		select {
		case <-u.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !u.zero {
			if err := s.write(u); err != nil {
				return err
			}
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

// codec is one worker's compressors; nil for a format that is not wanted.
type codec struct {
	qcow2 *qcow2.Compressor
	vmdk  *vmdk.Compressor
}

func newCodec(wantQCOW2, wantVMDK bool, t qcow2.Compression, level int) (*codec, error) {
	var c codec
	var err error
	if wantQCOW2 {
		if c.qcow2, err = qcow2.NewCompressor(t, level); err != nil {
			return nil, err
		}
	}
	if wantVMDK {
		c.vmdk, err = vmdk.NewCompressor(0)
	}
	return &c, err
}

func (c *codec) compress(u *unit) error {
	var err error
	if c.qcow2 != nil {
		if u.qcow2, err = c.qcow2.Compress(u.qcow2Buf, u.raw); err != nil {
			return err
		}
		if u.qcow2 != nil {
			u.qcow2Buf = u.qcow2
		}
	}
	if c.vmdk != nil {
		u.vmdk, err = c.vmdk.Compress(u.vmdk, u.raw)
	}
	return err
}
