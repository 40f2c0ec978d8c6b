package state

import (
	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/chunk"
	"github.com/agibake/agibake/internal/sparse"
)

// buffers is memory for pieces, and decoders, that are used again while one job lasts: garbage of their size would double
// what a process takes. Memory comes in two sizes, so that what is free fits; of a large one only what is used counts.
type buffers struct {
	small, large chan []byte
	decoders     chan *zstd.Decoder
}

func newBuffers() *buffers {
	return &buffers{make(chan []byte, 16), make(chan []byte, 4), make(chan *zstd.Decoder, 8)}
}

// get returns n bytes, at most LargePiece and a page, that Direct can write from, and what gives them back.
func (b *buffers) get(n int64) (data []byte, free func()) {
	list, size := b.small, chunk.Max
	if n > chunk.Max {
		list, size = b.large, LargePiece+sparse.Align
	}
	select {
	case data = <-list:
	default:
		data = sparse.Aligned(size)
	}
	return data[:n], func() {
		select {
		case list <- data[:cap(data)]:
		default:
		}
	}
}

// decoder returns a reader of zstd for packs, and what gives it back.
func (b *buffers) decoder(r *noting) (z *zstd.Decoder, free func(), err error) {
	select {
	case z = <-b.decoders:
		err = z.Reset(r)
	default:
		z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(packWindow))
	}
	return z, func() {
		select {
		case b.decoders <- z:
		default:
			z.Close()
		}
	}, err
}
