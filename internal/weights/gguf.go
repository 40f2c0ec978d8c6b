package weights

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// header reads the start of a model file and counts.
type header struct {
	r      *bufio.Reader
	at     int64
	values []Value // of GGUF
}

func (h *header) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := io.ReadFull(h.r, b)
	h.at += int64(got)
	return b, err
}

func (h *header) skip(n uint64) error {
	if n > maxHeader {
		return fmt.Errorf("a value of %d bytes: %w", n, ErrFormat)
	}
	got, err := h.r.Discard(int(n))
	h.at += int64(got)
	return err
}

func (h *header) u32() (uint32, error) {
	b, err := h.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (h *header) u64() (uint64, error) {
	b, err := h.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (h *header) text() (string, error) {
	n, err := h.u64()
	if err != nil {
		return "", err
	}
	if n > maxName {
		return "", fmt.Errorf("a name of %d bytes: %w", n, ErrFormat)
	}
	b, err := h.bytes(int(n))
	return string(b), err
}

// Types of GGUF's metadata values that are not plain numbers.
const (
	ggufUint32 = 4
	ggufString = 8
	ggufArray  = 9
)

// ggufWidths are the sizes of the plain numbers in bytes, by type; other types have none.
var ggufWidths = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, ggufUint32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

const (
	alignmentKey     = "general.alignment"
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxDepth         = 4 // of arrays in arrays
)

// gguf reads up to the tensor data. Tensors come without sizes.
func (h *header) gguf() (list []Tensor, data int64, err error) {
	if _, err = h.u32(); err != nil {
		return nil, 0, err
	}
	version, err := h.u32()
	if err != nil {
		return nil, 0, err
	}
	if version != 2 && version != 3 {
		return nil, 0, fmt.Errorf("GGUF version %d: %w", version, ErrFormat)
	}
	tensors, err := h.u64()
	if err != nil {
		return nil, 0, err
	}
	values, err := h.u64()
	if err != nil {
		return nil, 0, err
	}
	if tensors > maxTensors || values > maxTensors {
		return nil, 0, fmt.Errorf("%d tensors and %d values: %w", tensors, values, ErrFormat)
	}
	alignment := int64(defaultAlignment)
	for range values {
		if err := h.keyed(&alignment); err != nil {
			return nil, 0, err
		}
	}
	for range tensors {
		t, err := h.tensor()
		if err != nil {
			return nil, 0, err
		}
		list = append(list, t)
	}
	return list, (h.at + alignment - 1) / alignment * alignment, nil
}

// keyed passes a key and its value, notes where it lies, and takes the alignment where it is one.
func (h *header) keyed(alignment *int64) error {
	key, err := h.text()
	if err != nil {
		return err
	}
	kind, err := h.u32()
	if err != nil {
		return err
	}
	v := Value{Key: key, Offset: h.at - 4} // the type is part of it
	if key == alignmentKey {
		err = h.alignment(kind, alignment)
	} else {
		err = h.value(kind, maxDepth)
	}
	v.Size = h.at - v.Offset
	h.values = append(h.values, v)
	return err
}

func (h *header) alignment(kind uint32, alignment *int64) error {
	n, err := h.u32()
	if err != nil {
		return err
	}
	if kind != ggufUint32 || n == 0 || n > maxAlignment {
		return fmt.Errorf("an alignment of %d, type %d: %w", n, kind, ErrFormat)
	}
	*alignment = int64(n)
	return nil
}

// value passes one.
func (h *header) value(kind uint32, depth int) error {
	switch {
	case kind == ggufString:
		n, err := h.u64()
		if err != nil {
			return err
		}
		return h.skip(n)
	case kind == ggufArray && depth > 0:
		return h.array(depth)
	case ggufWidths[kind] > 0:
		return h.skip(ggufWidths[kind])
	}
	return fmt.Errorf("a value of type %d: %w", kind, ErrFormat)
}

func (h *header) array(depth int) error {
	kind, err := h.u32()
	if err != nil {
		return err
	}
	n, err := h.u64()
	if err != nil {
		return err
	}
	if n > maxHeader {
		return fmt.Errorf("an array of %d: %w", n, ErrFormat)
	}
	if width := ggufWidths[kind]; width > 0 {
		return h.skip(n * width)
	}
	for range n {
		if err := h.value(kind, depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (h *header) tensor() (t Tensor, err error) {
	if t.Name, err = h.text(); err != nil {
		return t, err
	}
	dims, err := h.u32()
	if err != nil {
		return t, err
	}
	if dims > 8 {
		return t, fmt.Errorf("tensor %.64q of %d dimensions: %w", t.Name, dims, ErrFormat)
	}
	if err := h.skip(8*uint64(dims) + 4); err != nil { // dimensions and type
		return t, err
	}
	at, err := h.u64()
	if err != nil {
		return t, err
	}
	if at > 1<<62 {
		return t, fmt.Errorf("tensor %.64q at %d: %w", t.Name, at, ErrFormat)
	}
	t.Offset = int64(at)
	return t, nil
}
