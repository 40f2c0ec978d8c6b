package format

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/sparse"
)

// qcow2Sink writes the qcow2 image. It hashes the image's start, which is known before the rest: the header, and the
// stored clusters as they come. The workers write these.
type qcow2Sink struct {
	*qcow2.Writer
	size   int64
	sum    *artifact.Summer
	summed int64 // bytes
}

func (s *qcow2Sink) write(u *unit) error {
	if u.stored > 0 {
		if u.stored != s.summed {
			return fmt.Errorf("cluster %d is out of order", u.first)
		}
		s.sum.Write(u.raw)
		s.summed += int64(len(u.raw))
		return nil
	}
	for i := range u.clusters() {
		if u.parts[i].zero {
			continue
		}
		if err := s.Write(u.first+i, u.cluster(i), u.parts[i].qcow2); err != nil {
			return err
		}
	}
	return nil
}

func (s *qcow2Sink) close(context.Context) (err error) {
	s.size, err = s.Close()
	return err
}

func (e *encoder) addQCOW2(ctx context.Context, t *target, c qcow2.Compression, level int) error {
	stored, err := e.incompressible(ctx, c, level)
	if err != nil {
		return err
	}
	w, err := qcow2.NewWriter(t.file, e.size, c, stored)
	if err != nil {
		return err
	}
	e.stored = stored
	if len(stored) > 0 {
		e.storeTo = e.direct(t)
	}
	s := &qcow2Sink{Writer: w, sum: artifact.NewSummer(0), summed: qcow2.StoredStart}
	s.sum.Write(w.Head())
	e.sinks = append(e.sinks, s)
	t.finish = func(ctx context.Context) (artifact.Sums, error) {
		return digest(ctx, s.sum, t.file.File, s.summed, s.size)
	}
	return nil
}

// streamSink writes one VMDK stream to all who want it: a file, an archive, and the digest of both.
type streamSink struct {
	*vmdk.Writer
	to   []io.Writer
	sum  *artifact.Summer
	sums artifact.Sums // after close
}

func (s *streamSink) write(u *unit) error {
	for i := range u.clusters() {
		if u.parts[i].zero {
			continue
		}
		if err := s.Write(u.first+i, u.parts[i].vmdk); err != nil {
			return err
		}
	}
	return nil
}

func (s *streamSink) close(context.Context) error {
	err := s.Close()
	s.sums = s.sum.Sums()
	return err
}

func (s *streamSink) addVMDK(t *target) {
	s.to = append(s.to, t.file)
	t.finish = func(context.Context) (artifact.Sums, error) { return s.sums, nil }
}

func (s *streamSink) addOVA(t *target, spec ova.Spec) error {
	w, err := ova.NewWriter(t.file, spec)
	if err != nil {
		return err
	}
	s.to = append(s.to, w)
	t.finish = func(ctx context.Context) (artifact.Sums, error) {
		sum, err := hex.DecodeString(s.sums.SHA256)
		if err != nil {
			return artifact.Sums{}, err
		}
		size, err := w.Close([sha256.Size]byte(sum), s.Populated())
		if err != nil {
			return artifact.Sums{}, err
		}
		return digest(ctx, artifact.NewSummer(0), t.file.File, 0, size)
	}
	return nil
}

func (s *streamSink) open(size int64, seed string) error {
	s.sum = artifact.NewSummer(0)
	id := epoch.UUID(seed, "vmdk")
	cid := binary.BigEndian.Uint32(id[:]) &^ (1 << 31) // all ones means "no parent"
	var err error
	s.Writer, err = vmdk.NewWriter(io.MultiWriter(append(s.to, s.sum)...), size, cid)
	return err
}

// rawSink hashes the disk as it is, zeros too. The workers copy it.
type rawSink struct {
	size int64
	sum  *artifact.Summer
	done int64 // bytes summed
}

// rawFile is the raw output, with a way of its own for what lies in inlays.
type rawFile struct{ plain, large io.WriterAt }

// addRaw adds the raw output, which shares the blocks of raw where it may and the file system can.
func (e *encoder) addRaw(t *target, raw *os.File, share bool) error {
	s := &rawSink{size: e.size, sum: artifact.NewSummer(0)}
	if !share || sparse.Clone(t.file.File, raw) != nil {
		e.copyTo = &rawFile{t.file, e.direct(t)}
	}
	if err := t.file.Truncate(e.size); err != nil {
		return err
	}
	e.sinks = append(e.sinks, s)
	t.finish = func(context.Context) (artifact.Sums, error) { return s.sum.Sums(), nil }
	return nil
}

func (s *rawSink) close(ctx context.Context) error { return s.zeros(ctx, s.size) }

func (s *rawSink) write(u *unit) error {
	if err := s.zeros(context.Background(), u.first*clusterSize); err != nil {
		return err
	}
	n, _ := s.sum.Write(u.raw[:min(int64(len(u.raw)), s.size-s.done)])
	s.done += int64(n)
	return nil
}

var zeros [1 << 20]byte

// zeros hashes zeros up to the offset end.
func (s *rawSink) zeros(ctx context.Context, end int64) error {
	for s.done < end && ctx.Err() == nil {
		n, _ := s.sum.Write(zeros[:min(int64(len(zeros)), end-s.done)])
		s.done += int64(n)
	}
	return ctx.Err()
}

// digest adds f's bytes from the offset from to size, just written and so still in memory where they fit, to what s has.
func digest(ctx context.Context, s *artifact.Summer, f *os.File, from, size int64) (artifact.Sums, error) {
	r := io.NewSectionReader(f, from, size-from)
	for buf := make([]byte, 1<<20); ctx.Err() == nil; {
		n, err := r.Read(buf)
		s.Write(buf[:n])
		if err == io.EOF {
			return s.Sums(), nil
		}
		if err != nil {
			return artifact.Sums{}, err
		}
	}
	return artifact.Sums{}, ctx.Err()
}
