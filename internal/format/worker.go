package format

import (
	"context"
	"io"

	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/sparse"
)

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
		if u.stored > 0 {
			if _, err := e.storeTo.WriteAt(u.raw, u.stored); err != nil {
				return err
			}
		}
		if err := e.look(u, c); err != nil {
			return err
		}
		close(u.ready)
	}
	return nil
}

// look finds the zeros of a unit and compresses the rest of it.
func (e *encoder) look(u *unit, c *codec) error {
	if u.stored > 0 && c.vmdk == nil && e.copyTo == nil {
		return nil // nobody else wants it
	}
	for i := range u.clusters() {
		t := &u.parts[i]
		if t.zero = sparse.IsZero(u.cluster(i)); t.zero {
			continue
		}
		if err := c.compress(t, u.cluster(i), u.stored > 0); err != nil {
			return err
		}
	}
	return e.copy(u)
}

func (e *encoder) read(u *unit) error {
	off := u.first * clusterSize
	n := min(int64(len(u.raw)), e.size-off)
	clear(u.raw[n:])
	if _, err := e.disk.ReadAt(u.raw[:n], off); err != nil {
		if err == io.EOF { // ReadAt reports it only when bytes are missing
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// copy writes the unit without its zeros to the raw output, if there is one.
func (e *encoder) copy(u *unit) error {
	if e.copyTo == nil {
		return nil
	}
	off, size := u.first*clusterSize, min(int64(len(u.raw)), e.size-u.first*clusterSize)
	to := e.copyTo.plain
	if e.disk.Apart(off, size) {
		to = e.copyTo.large
	}
	for i := int64(0); i < u.clusters(); i++ {
		start := i
		for i < u.clusters() && !u.parts[i].zero {
			i++
		}
		if start == i {
			continue
		}
		if _, err := to.WriteAt(u.raw[start*clusterSize:min(i*clusterSize, size)], off+start*clusterSize); err != nil {
			return err
		}
	}
	return nil
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

// compress sets what t has of a cluster that is not zero.
func (c *codec) compress(t *part, cluster []byte, stored bool) error {
	var err error
	if c.qcow2 != nil && !stored {
		if t.qcow2, err = c.qcow2.Compress(t.qcow2Buf, cluster); err != nil {
			return err
		}
		if t.qcow2 != nil {
			t.qcow2Buf = t.qcow2
		}
	}
	if c.vmdk != nil {
		t.vmdk, err = c.vmdk.Compress(t.vmdk, cluster)
	}
	return err
}
