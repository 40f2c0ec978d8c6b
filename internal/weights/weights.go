// Package weights finds where the tensors of a model file lie, so that the file can be cut between them: then a changed
// header, tokenizer or tensor leaves the other pieces as they were.
package weights

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrFormat marks a file that is neither GGUF nor safetensors, or a damaged one.
var ErrFormat = errors.New("no model file that is understood")

const (
	maxHeader  = 256 << 20 // bytes; vocabularies of known models take less than a tenth
	maxTensors = 1 << 20
	maxName    = 64 << 10 // bytes, of a key or a tensor
)

// Tensor is a named run of bytes in the file.
type Tensor struct {
	Name   string
	Offset int64 // bytes from the start of the file
	Size   int64 // bytes, with the padding behind them
}

// Tensors lists the tensors of a file of size bytes by offset. Together they are the file from the first offset to its
// end, without gaps. Errors are those of r and ErrFormat. Memory is bounded by the names.
//
// Formats: ggml, docs/gguf.md, versions 2 and 3, little-endian; huggingface/safetensors, README, "Format".
func Tensors(r io.ReaderAt, size int64) ([]Tensor, error) {
	h := &header{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, min(size, maxHeader)), 64<<10)}
	magic, err := h.r.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var list []Tensor
	var data int64 // where tensors begin
	switch {
	case len(magic) == 8 && string(magic[:4]) == "GGUF":
		list, data, err = h.gguf()
	case len(magic) == 8:
		list, data, err = h.safetensors(size)
	default:
		err = fmt.Errorf("%d bytes: %w", size, ErrFormat)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the header is cut off: %w", ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	return placed(list, data, size)
}

// placed turns offsets from data into offsets in the file, and lets each tensor reach to the next.
func placed(list []Tensor, data, size int64) ([]Tensor, error) {
	slices.SortStableFunc(list, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	end := size
	for i := len(list) - 1; i >= 0; i-- {
		t := &list[i]
		if data > size || t.Offset < 0 || t.Offset > size-data || t.Size > end-data-t.Offset {
			return nil, fmt.Errorf("tensor %.64q is not within the %d bytes of the file, or over another one: %w", t.Name, size, ErrFormat)
		}
		t.Offset += data
		t.Size, end = end-t.Offset, t.Offset
	}
	return list, nil
}

// Cuts returns where to cut a file of size bytes into pieces of at most limit bytes: offsets in rising order, 0 the
// first of them, size not among them. What is before the first tensor is apart; tensors stay together while they fit;
// only one larger than limit is cut inside. Cuts depend on the tensors' sizes alone, not on the header.
func Cuts(tensors []Tensor, size, limit int64) []int64 {
	first := size
	if len(tensors) > 0 {
		first = tensors[0].Offset
	}
	cuts := split(nil, 0, first, limit)
	from := first // of the piece in the making
	for _, t := range tensors {
		if t.Offset > from && t.Offset+t.Size-from > limit {
			cuts = split(cuts, from, t.Offset, limit)
			from = t.Offset
		}
	}
	return split(cuts, from, size, limit)
}

func split(cuts []int64, from, to, limit int64) []int64 {
	for ; from < to; from += limit {
		cuts = append(cuts, from)
	}
	return cuts
}
