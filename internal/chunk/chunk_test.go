package chunk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func chunks(t testing.TB, r io.Reader) (list [][]byte) {
	t.Helper()
	for c := New(r); ; {
		chunk, err := c.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, bytes.Clone(chunk))
	}
}

func TestSizes(t *testing.T) {
	for _, data := range [][]byte{nil, {1}, noise(1, Min), noise(1, Min+1), noise(2, 64<<20), make([]byte, 9<<20+5)} {
		list := chunks(t, bytes.NewReader(data))
		if !bytes.Equal(bytes.Join(list, nil), data) {
			t.Fatalf("%d bytes: the chunks are not the stream", len(data))
		}
		for i, c := range list {
			if len(c) > Max || len(c) == 0 || len(c) < Min && i < len(list)-1 {
				t.Errorf("%d bytes: chunk %d of %d bytes", len(data), i, len(c))
			}
		}
		if mean := len(data) / max(1, len(list)); len(data) == 64<<20 && (mean < Mean*3/4 || mean > Mean*3/2) {
			t.Errorf("a mean of %d bytes", mean)
		}
	}
}

// TestEdit: what is inserted into the middle changes few chunks.
func TestEdit(t *testing.T) {
	data := noise(3, 40<<20)
	known := map[[32]byte]bool{}
	for _, c := range chunks(t, bytes.NewReader(data)) {
		known[sha256.Sum256(c)] = true
	}
	changed := append(append(bytes.Clone(data[:20<<20]), "a line more"...), data[20<<20:]...)
	fresh := 0
	for _, c := range chunks(t, bytes.NewReader(changed)) {
		if !known[sha256.Sum256(c)] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 3 {
		t.Errorf("%d of %d chunks changed", fresh, len(known))
	}
}

// TestReads: how the reader hands out its bytes does not matter, and its errors come through.
func TestReads(t *testing.T) {
	data := noise(4, 12<<20)
	want := chunks(t, bytes.NewReader(data))
	got := chunks(t, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data))))
	if fmt.Sprint(lengths(got)) != fmt.Sprint(lengths(want)) {
		t.Errorf("%v, not %v", lengths(got), lengths(want))
	}
	broken := errors.New("broken")
	c := New(io.MultiReader(bytes.NewReader(data[:5<<20]), iotest.ErrReader(broken)))
	for range 9 {
		if _, err := c.Next(); err != nil {
			if !errors.Is(err, broken) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("no error")
}

// TestForm pins where a known stream is cut: docs/formats.md describes it, and stored snapshots depend on it.
func TestForm(t *testing.T) {
	var data []byte
	for i := 0; len(data) < 8<<20; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		data = append(data, sum[:]...)
	}
	if got, want := fmt.Sprint(lengths(chunks(t, bytes.NewReader(data)))), "[1602358 1449460 1158877 1601888 1238922 1337103]"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func lengths(list [][]byte) (n []int) {
	for _, c := range list {
		n = append(n, len(c))
	}
	return n
}

func BenchmarkChunker(b *testing.B) {
	data := noise(5, 64<<20)
	b.SetBytes(int64(len(data)))
	c := New(nil)
	for b.Loop() {
		c.Reset(bytes.NewReader(data))
		for {
			if _, err := c.Next(); err != nil {
				break
			}
		}
	}
}
