package state

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/chunk"
)

// packer writes pieces into packs, in the order they come: a pack is a tar of pieces, each named by its sum, compressed
// with zstd. Add and finish are for one goroutine; compression happens in another.
type packer struct {
	ctx   context.Context
	to    artifact.Store
	seal  *Seal
	queue chan []byte // nil ends a pack
	free  chan []byte
	sums  chan Piece
	done  chan error
	zstd  *zstd.Encoder
	raw   int64 // of the pack in the making, as Add sees it
	blobs []Blob
}

// inFlight is how many pieces wait for compression; each takes chunk.Max bytes at most.
const inFlight = 8

func newPacker(ctx context.Context, to artifact.Store, s *Seal) *packer {
	p := &packer{ctx: ctx, to: to, seal: s, queue: make(chan []byte, inFlight), free: make(chan []byte, inFlight+2), sums: make(chan Piece, inFlight), done: make(chan error, 1)}
	for range inFlight + 2 {
		p.free <- nil
	}
	go func() { p.done <- p.run() }()
	return p
}

// errStopped tells the adding side that the other one gave up; finish returns why.
var errStopped = errors.New("packing stopped")

// add queues a piece, whose bytes are copied.
func (p *packer) add(piece Piece, data []byte) error {
	if p.raw+piece.Size > maxPackRaw {
		if err := p.send(Piece{}, nil); err != nil {
			return err
		}
		p.raw = 0
	}
	p.raw += piece.Size
	var buf []byte
	select {
	case buf = <-p.free:
	case err := <-p.done:
		p.done <- err
		return errStopped
	}
	if cap(buf) < len(data) {
		buf = make([]byte, len(data), max(len(data), min(chunk.Max, 2*len(data))))
	}
	return p.send(piece, append(buf[:0], data...))
}

func (p *packer) send(piece Piece, data []byte) error {
	select {
	case p.queue <- data:
		p.sums <- piece
		return nil
	case err := <-p.done:
		p.done <- err
		return errStopped
	}
}

// finish ends the last pack and returns all of them. err is how adding went: where packing is what stopped it, the cause is
// returned instead.
func (p *packer) finish(err error) ([]Blob, error) {
	close(p.queue)
	packing := <-p.done
	p.done <- packing
	if err == nil || errors.Is(err, errStopped) {
		err = cmp.Or(packing, err)
	}
	return p.blobs, err
}

// packWindow is zstd's, in bytes.
const packWindow = 8 << 20

// run writes packs until the queue is closed.
func (p *packer) run() (err error) {
	p.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(packWindow))
	if err != nil {
		return err
	}
	for {
		data, open := <-p.queue
		if !open {
			return nil
		}
		piece := <-p.sums
		if data == nil {
			continue
		}
		if err := p.pack(piece, data); err != nil {
			return fmt.Errorf("write pack: %w", err)
		}
	}
}

// pack writes one pack, beginning with a piece.
func (p *packer) pack(piece Piece, data []byte) error {
	b := Blob{Packed: true}
	d, err := p.seal.write(p.ctx, p.to, func(w io.Writer) error {
		p.zstd.Reset(w)
		t := tar.NewWriter(p.zstd)
		for data != nil {
			if err := context.Cause(p.ctx); err != nil {
				return err
			}
			if err := writePiece(t, piece, data); err != nil {
				return err
			}
			b.Pieces = append(b.Pieces, piece)
			p.free <- data
			var open bool
			if data, open = <-p.queue; open {
				piece = <-p.sums
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		return p.zstd.Close()
	})
	b.Digest, b.Size = d.Digest, d.Size
	p.blobs = append(p.blobs, b)
	return err
}

func writePiece(t *tar.Writer, p Piece, data []byte) error {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p.Sum.String(), Size: p.Size, Mode: 0o444, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = t.Write(data)
	}
	return err
}

// readPack gives the pieces of a pack that want asks for, checked, to use; the bytes are valid until it returns. r is
// hostile: it ends with an error of kind fault.Untrusted unless it holds just the pieces of b, and memory stays small.
func readPack(r io.Reader, b *Blob, m *buffers, want func(Piece) bool, use func(Piece, []byte) error) error {
	src := &noting{r: r}
	fail := func(err error) error {
		if src.err != nil {
			return fmt.Errorf("pack %s: %w", b.Digest, src.err)
		}
		return fmt.Errorf("pack %s: %w: %w", b.Digest, err, artifact.ErrDigest)
	}
	z, free, err := m.decoder(src)
	if err != nil {
		return fail(err)
	}
	defer free()
	t := tar.NewReader(io.LimitReader(z, b.raw()+int64(len(b.Pieces))*1024+64<<10))
	buf, release := m.get(chunk.Max)
	defer release()
	for _, p := range b.Pieces {
		h, err := t.Next()
		if err != nil {
			return fail(err)
		}
		if h.Typeflag != tar.TypeReg || h.Format != tar.FormatUSTAR || h.Size != p.Size || h.Name != p.Sum.String() {
			return fail(fmt.Errorf("%.100q where %s should be", h.Name, p.Sum))
		}
		if !want(p) {
			continue
		}
		data := buf[:p.Size]
		if _, err := io.ReadFull(t, data); err != nil {
			return fail(err)
		}
		if sumOf(data) != p.Sum {
			return fail(fmt.Errorf("piece %s is damaged", p.Sum))
		}
		if err := use(p, data); err != nil {
			return err
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return fail(errors.New("there is more in it"))
	}
	return nil
}

// noting keeps the fault of a reader apart from the faults of what it reads.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return k, err
}
