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
	list, _, err := scan(r, size)
	return list, err
}

// Value is a metadata value of a GGUF file: its type, in 4 bytes, and what follows.
type Value struct {
	Key    string
	Offset int64 // bytes from the start of the file
	Size   int64 // bytes
}

// Metadata lists the metadata values of a GGUF file of size bytes in its order; a safetensors file has none. Errors and
// memory are those of Tensors. A key may come twice: the format forbids it, readers differ in which they take.
func Metadata(r io.ReaderAt, size int64) ([]Value, error) {
	_, values, err := scan(r, size)
	return values, err
}

func scan(r io.ReaderAt, size int64) (list []Tensor, values []Value, err error) {
	h := &header{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, min(size, maxHeader)), 64<<10)}
	magic, err := h.r.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
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
		return nil, nil, err
	}
	if list, err = placed(list, data, size); err != nil {
		return nil, nil, err
	}
	return list, h.values, nil
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

// Cuts returns where to cut a file of size bytes into pieces: offsets in rising order, 0 the first of them, size not among
// them. What is before the first tensor is apart; tensors stay together while they have at most group bytes; a larger one
// is alone, so that its change adds no more than itself. No piece is larger than limit. Cuts depend on the tensors' sizes
// alone, not on the header.
func Cuts(tensors []Tensor, size, group, limit int64) []int64 {
	first := size
	if len(tensors) > 0 {
		first = tensors[0].Offset
	}
	cuts := split(nil, 0, first, limit)
	from := first // of the piece in the making
	for _, t := range tensors {
		if t.Offset > from && t.Offset+t.Size-from > group {
			cuts = split(cuts, from, t.Offset, limit)
			from = t.Offset
		}
	}
	return split(cuts, from, size, limit)
}

// Group is how many bytes of small tensors stay together in a file of size bytes: 1 MiB, or the power of two that keeps
// pieces below some thousands.
func Group(size int64) int64 {
	group := int64(1 << 20)
	for group*2048 < size {
		group *= 2
	}
	return group
}

func split(cuts []int64, from, to, limit int64) []int64 {
	for ; from < to; from += limit {
		cuts = append(cuts, from)
	}
	return cuts
}
