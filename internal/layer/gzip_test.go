package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

func gzipped(t testing.TB, data []byte, jobs, step int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := NewGzipWriter(context.Background(), &b, jobs)
	for in := data; len(in) > 0; in = in[min(step, len(in)):] {
		if _, err := z.Write(in[:min(step, len(in))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if z.Digest() != fmt.Sprintf("sha256:%x", sha256.Sum256(b.Bytes())) || z.Size() != int64(b.Len()) {
		t.Errorf("digest %s, size %d of %d bytes", z.Digest(), z.Size(), b.Len())
	}
	return b.Bytes()
}

// mixed is text, noise and zeros.
func mixed(size int) []byte {
	data := bytes.Repeat([]byte("The quick brown fox. "), size/21+1)[:size]
	r := rand.NewChaCha8([32]byte{})
	r.Read(data[size/3 : size/2])
	clear(data[size/2 : size*2/3])
	return data
}

// TestGzip lets gzip(1) read what was compressed, and wants the same bytes whatever the jobs and the steps.
func TestGzip(t *testing.T) {
	for _, size := range []int{0, 1, 1000, gzipPiece - 1, gzipPiece, gzipPiece + 1, 9*gzipPiece + 77} {
		data := mixed(size)
		first := gzipped(t, data, 1, max(1, size))
		for _, other := range [][2]int{{2, 4096}, {7, 3<<20 + 1}, {0, 999}} {
			if !bytes.Equal(first, gzipped(t, data, other[0], other[1])) {
				t.Errorf("%d bytes: %d jobs in steps of %d give other bytes", size, other[0], other[1])
			}
		}
		r, kind, err := Uncompress(context.Background(), bytes.NewReader(first))
		if err != nil || kind != Gzip {
			t.Fatalf("%s, %v", kind, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
		c := referee.Command(t, "gzip", "-dc")
		c.Stdin = bytes.NewReader(first)
		if got, err := c.Output(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: gzip gives %d, %v", size, len(got), err)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.ErrUnsupported
	}
	return len(p), nil
}

// TestGzipFails wants the error of the writer below, or of the context, and no goroutine that stays.
func TestGzipFails(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		after int
		want  error
	}{"header": {context.Background(), 0, errors.ErrUnsupported}, "middle": {context.Background(), 100, errors.ErrUnsupported}, "context": {cancelled, 1 << 30, context.Canceled}} {
		z := NewGzipWriter(c.ctx, &failing{c.after}, 2)
		var err error
		for range 40 {
			if _, err = z.Write(mixed(gzipPiece)); err != nil {
				break
			}
		}
		if closed := z.Close(); !errors.Is(closed, c.want) {
			t.Errorf("%s: %v, %v", name, err, closed)
		}
	}
}

// BenchmarkGzip compresses the file named in AGIBAKE_LAYER.
func BenchmarkGzip(b *testing.B) {
	name := os.Getenv("AGIBAKE_LAYER")
	if name == "" {
		b.Skip("SKIPPED: AGIBAKE_LAYER names no tar")
	}
	for b.Loop() {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		z := NewGzipWriter(b.Context(), io.Discard, 0)
		n, err := io.Copy(z, f)
		if err := errors.Join(err, z.Close(), f.Close()); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
		b.ReportMetric(float64(z.Size())/float64(n), "ratio")
	}
}
