package format

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
	"os"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/sparse"
)

// target is one output file. finish completes it once its sink is closed, and returns its size and SHA-256 in hex.
type target struct {
	out    Output
	file   *atomicfile.File
	finish func(ctx context.Context) (int64, string, error)
}

// sink takes the units in ascending order, those of zeros left out.
type sink interface {
	write(u *unit) error
	close(ctx context.Context) error // after the last unit
}

// encoder is the state of one Encode.
type encoder struct {
	disk    *sparse.Disk
	size    int64
	jobs    int
	copyTo  io.WriterAt // the raw output, where it does not share the disk's blocks
	codec   func() (*codec, error)
	targets []*target
	sinks   []sink
}

func newEncoder(raw *os.File, size int64, outs []Output, o Options) (*encoder, error) {
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
			err = e.addQCOW2(t, compression)
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

// qcow2Sink writes the qcow2 image.
type qcow2Sink struct {
	*qcow2.Writer
	size int64
}

func (s *qcow2Sink) write(u *unit) error { return s.Write(u.number, u.raw, u.qcow2) }

func (s *qcow2Sink) close(context.Context) (err error) {
	s.size, err = s.Close()
	return err
}

func (e *encoder) addQCOW2(t *target, c qcow2.Compression) error {
	w, err := qcow2.NewWriter(t.file, e.size, c)
	if err != nil {
		return err
	}
	s := &qcow2Sink{Writer: w}
	e.sinks = append(e.sinks, s)
	t.finish = func(ctx context.Context) (int64, string, error) { return digest(ctx, t.file.File, s.size) }
	return nil
}

// streamSink writes one VMDK stream to all who want it: a file, an archive, and the digest of both.
type streamSink struct {
	*vmdk.Writer
	to   []io.Writer
	hash hash.Hash
	n    counter
}

func (s *streamSink) write(u *unit) error         { return s.Write(u.number, u.vmdk) }
func (s *streamSink) close(context.Context) error { return s.Close() }

func (s *streamSink) addVMDK(t *target) {
	s.to = append(s.to, t.file)
	t.finish = func(context.Context) (int64, string, error) {
		return int64(s.n), hex.EncodeToString(s.hash.Sum(nil)), nil
	}
}

func (s *streamSink) addOVA(t *target, spec ova.Spec) error {
	w, err := ova.NewWriter(t.file, spec)
	if err != nil {
		return err
	}
	s.to = append(s.to, w)
	t.finish = func(ctx context.Context) (int64, string, error) {
		size, err := w.Close([sha256.Size]byte(s.hash.Sum(nil)), s.Populated())
		if err != nil {
			return 0, "", err
		}
		return digest(ctx, t.file.File, size)
	}
	return nil
}

func (s *streamSink) open(size int64, seed string) error {
	s.hash = sha256.New()
	id := epoch.UUID(seed, "vmdk")
	cid := binary.BigEndian.Uint32(id[:]) &^ (1 << 31) // all ones means "no parent"
	var err error
	s.Writer, err = vmdk.NewWriter(io.MultiWriter(append(s.to, s.hash, &s.n)...), size, cid)
	return err
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// rawSink hashes the disk as it is, zeros too. The workers copy it.
type rawSink struct {
	size int64
	hash hash.Hash
	done int64 // bytes hashed
}

// addRaw adds the raw output, which shares the blocks of raw where it may and the file system can.
func (e *encoder) addRaw(t *target, raw *os.File, share bool) error {
	s := &rawSink{size: e.size, hash: sha256.New()}
	if !share || sparse.Clone(t.file.File, raw) != nil {
		e.copyTo = t.file
	}
	if err := t.file.Truncate(e.size); err != nil {
		return err
	}
	e.sinks = append(e.sinks, s)
	t.finish = func(context.Context) (int64, string, error) {
		return s.size, hex.EncodeToString(s.hash.Sum(nil)), nil
	}
	return nil
}

func (s *rawSink) close(ctx context.Context) error { return s.zeros(ctx, s.size) }

func (s *rawSink) write(u *unit) error {
	off := u.number * unitSize
	data := u.raw[:min(unitSize, s.size-off)]
	if err := s.zeros(context.Background(), off); err != nil {
		return err
	}
	s.hash.Write(data)
	s.done += int64(len(data))
	return nil
}

var zeros [1 << 20]byte

// zeros hashes zeros up to the offset end.
func (s *rawSink) zeros(ctx context.Context, end int64) error {
	for s.done < end && ctx.Err() == nil {
		n, _ := s.hash.Write(zeros[:min(int64(len(zeros)), end-s.done)])
		s.done += int64(n)
	}
	return ctx.Err()
}

// digest returns size and the SHA-256 of f's first size bytes, just written and so still in memory where they fit.
func digest(ctx context.Context, f *os.File, size int64) (int64, string, error) {
	h := sha256.New()
	r := io.NewSectionReader(f, 0, size)
	for buf := make([]byte, 1<<20); ctx.Err() == nil; {
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return size, hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return 0, "", err
		}
	}
	return 0, "", ctx.Err()
}
