package format

import (
	"context"
	"io"
	"os"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/sparse"
)

// target is one output file. finish completes it once its sink is closed.
type target struct {
	out    Output
	file   *atomicfile.File
	finish func(ctx context.Context) (artifact.Sums, error)
}

// sink takes the units in ascending order.
type sink interface {
	write(u *unit) error
	close(ctx context.Context) error // after the last unit
}

// encoder is the state of one Encode.
type encoder struct {
	disk    *sparse.Disk
	size    int64
	jobs    int
	copyTo  *rawFile      // the raw output, where it does not share the disk's blocks
	stored  []qcow2.Range // clusters that have their place in the qcow2 image
	storeTo io.WriterAt   // that image
	closers []io.Closer
	codec   func() (*codec, error)
	targets []*target
	sinks   []sink
}

func newEncoder(ctx context.Context, raw *os.File, size int64, outs []Output, o Options) (*encoder, error) {
	e := &encoder{disk: sparse.NewDisk(raw, o.Inlays), size: size, jobs: o.Jobs}
	compression, err := check(outs, o)
	if err != nil {
		return e, err
	}
	var stream streamSink
	var wantQCOW2 bool
	for _, out := range outs {
		f, err := atomicfile.Create(out.Path)
		if err != nil {
			return e, err
		}
		t := &target{out: out, file: f}
		e.targets = append(e.targets, t)
		switch out.Format {
		case Raw:
			err = e.addRaw(t, raw, len(o.Inlays) == 0)
		case QCOW2:
			wantQCOW2 = true
			err = e.addQCOW2(ctx, t, compression, o.Level)
		case VMDK:
			stream.addVMDK(t)
		case OVA:
			err = stream.addOVA(t, o.OVA)
		}
		if err != nil {
			return e, err
		}
	}
	if len(stream.to) > 0 {
		if err := stream.open(size, o.Seed); err != nil {
			return e, err
		}
		e.sinks = append(e.sinks, &stream)
	}
	e.codec = func() (*codec, error) { return newCodec(wantQCOW2, len(stream.to) > 0, compression, o.Level) }
	return e, nil
}

func (e *encoder) abort() {
	for _, c := range e.closers {
		c.Close()
	}
	for _, t := range e.targets {
		t.file.Abort()
	}
}

func (e *encoder) names() string {
	var kinds []Kind
	for _, t := range e.targets {
		kinds = append(kinds, t.out.Format)
	}
	return join(kinds)
}

// direct returns a writer of large pieces of the target.
func (e *encoder) direct(t *target) io.WriterAt {
	d := sparse.NewDirect(t.file.File)
	e.closers = append(e.closers, d)
	return d
}
