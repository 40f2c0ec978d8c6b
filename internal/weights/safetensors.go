package weights

import (
	"encoding/json"
	"fmt"
	"io"
)

const maxSafetensors = 100_000_000 // bytes of header, the format's own limit

// safetensors reads the header: its length in 8 bytes, then a JSON object by tensor name.
func (h *header) safetensors(size int64) (list []Tensor, data int64, err error) {
	n, err := h.u64()
	if err != nil {
		return nil, 0, err
	}
	if open, err := h.r.Peek(1); n < 2 || n > maxSafetensors || int64(n) > size-8 || err != nil || open[0] != '{' {
		return nil, 0, fmt.Errorf("neither GGUF nor safetensors: %w", ErrFormat)
	}
	data = 8 + int64(n)
	d := json.NewDecoder(io.LimitReader(h.r, int64(n)))
	if _, err := d.Token(); err != nil {
		return nil, 0, broken(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, 0, broken(err)
		}
		t, err := safetensor(d, name.(string), size-data) // keys of an object are strings
		if err != nil {
			return nil, 0, err
		}
		if name == "__metadata__" {
			continue
		}
		if list = append(list, t); len(list) > maxTensors {
			return nil, 0, fmt.Errorf("more than %d tensors: %w", maxTensors, ErrFormat)
		}
	}
	_, err = d.Token()
	return list, data, broken(err)
}

// safetensor reads the value of one name.
func safetensor(d *json.Decoder, name string, room int64) (t Tensor, err error) {
	var v struct {
		Offsets *[2]int64 `json:"data_offsets"`
	}
	if err := d.Decode(&v); err != nil {
		return t, broken(err)
	}
	if name == "__metadata__" {
		return t, nil
	}
	if len(name) > maxName || v.Offsets == nil || v.Offsets[0] < 0 || v.Offsets[1] < v.Offsets[0] || v.Offsets[1] > room {
		return t, fmt.Errorf("tensor %.64q lies nowhere: %w", name, ErrFormat)
	}
	return Tensor{name, v.Offsets[0], v.Offsets[1] - v.Offsets[0]}, nil
}

func broken(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the header: %w: %w", err, ErrFormat)
}
