package deflate

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"testing"
)

const size = 64 << 10

// pieces are the kinds of data on a disk, with the part of their size that compression must reach.
func pieces() map[string]struct {
	data []byte
	most float64
} {
	rng := rand.New(rand.NewPCG(1, 2))
	noise, text, half := make([]byte, size), make([]byte, size), make([]byte, size)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
		text[i] = "model weights answer"[rng.IntN(20)]
	}
	for i := 0; i < size; i += 2 {
		binary.LittleEndian.PutUint16(half[i:], uint16(math.Float32bits(float32(0.02*rng.NormFloat64()))>>16))
	}
	return map[string]struct {
		data []byte
		most float64
	}{"zeros": {make([]byte, size), 0.01}, "noise": {noise, 1.001}, "text": {text, 0.6}, "bfloat16": {half, 0.8}, "empty": {nil, 0}}
}

func compressors(t *testing.T) map[string]*Compressor {
	t.Helper()
	level, err := New(6)
	if err != nil {
		t.Fatal(err)
	}
	window, err := NewWindow(4096)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Compressor{"level": level, "window": window}
}

func TestRoundTrip(t *testing.T) {
	for kind, c := range compressors(t) {
		for name, p := range pieces() {
			out, err := c.Append([]byte("head"), p.data)
			if err != nil || !bytes.HasPrefix(out, []byte("head")) {
				t.Fatalf("%s %s: %v", kind, name, err)
			}
			back, err := io.ReadAll(flate.NewReader(bytes.NewReader(out[4:]))) // the standard library's reader
			if err != nil || !bytes.Equal(back, p.data) {
				t.Errorf("%s %s: comes back different: %v", kind, name, err)
			}
			if n := float64(len(out)-4) / size; n > p.most && p.data != nil {
				t.Errorf("%s %s: %.3f of its size", kind, name, n)
			}
		}
	}
}

func TestHasNoMemory(t *testing.T) {
	used := compressors(t)
	for name, p := range pieces() {
		for kind := range used {
			got, err := used[kind].Append(nil, p.data)
			if err != nil {
				t.Fatal(err)
			}
			want, err := compressors(t)[kind].Append(nil, p.data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s %s: a used compressor gives other bytes", kind, name)
			}
		}
	}
}

// TestWindow decodes with a reader that keeps no more than the window, as QEMU's may.
func TestWindow(t *testing.T) {
	c := compressors(t)["window"]
	b := bytes.Repeat(pieces()["noise"].data[:5000], size/5000+1)[:size] // repeats itself, but beyond the window
	out, err := c.Append(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < size {
		t.Errorf("%d bytes: the stream refers back further than the window", len(out))
	}
}
