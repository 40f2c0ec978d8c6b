package state

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/agibake/agibake/internal/fault"
)

func zstdOf(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
	fatal(t, err)
	_, err = z.Write(data)
	fatal(t, errors.Join(err, z.Close()))
	return b.Bytes()
}

func tarOf(t testing.TB, headers []*tar.Header, bodies [][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Size = int64(len(bodies[i]))
		fatal(t, w.WriteHeader(h))
		_, err := w.Write(bodies[i])
		fatal(t, err)
	}
	fatal(t, w.Close())
	return b.Bytes()
}

// gnuSparse is an old GNU sparse entry of a size, with no data at all.
func gnuSparse(t testing.TB, name string) []byte {
	raw := tarOf(t, []*tar.Header{{Name: name, Format: tar.FormatGNU}}, [][]byte{nil})
	raw[156] = 'S'
	copy(raw[483:], "00000000005\x00") // real size
	sum := 0
	copy(raw[148:156], "        ")
	for _, c := range raw[:512] {
		sum += int(c)
	}
	copy(raw[148:], []byte{'0', byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	return raw
}

// TestHostilePacks: a pack is what Capture would have written of its pieces, or nothing, and takes little memory to judge.
func TestHostilePacks(t *testing.T) {
	one, two := []byte("alpha"), []byte("beta")
	a, b := sumOf(one), sumOf(two)
	blob := &Blob{Digest: "sha256:x", Packed: true, Pieces: []Piece{{a, 5}, {b, 4}}}
	head := func(s Sum) *tar.Header { return &tar.Header{Name: s.String(), Mode: 0o444, Format: tar.FormatUSTAR} }
	bodies := [][]byte{one, two}
	good := tarOf(t, []*tar.Header{head(a), head(b)}, bodies)
	read := func(raw []byte) (n int, err error) {
		err = readPack(bytes.NewReader(raw), blob, newBuffers(), func(Piece) bool { return true }, func(p Piece, data []byte) error {
			if n++; sumOf(data) != p.Sum {
				t.Error("a piece that is not what it should be came out")
			}
			return nil
		})
		return n, err
	}
	if n, err := read(zstdOf(t, good)); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	pax := head(a)
	pax.Format, pax.PAXRecords = tar.FormatPAX, map[string]string{"evil.x": strings.Repeat("x", 100<<10)}
	long := head(a)
	long.Format, long.Name = tar.FormatGNU, strings.Repeat("x", 500)
	symlink := head(b)
	symlink.Typeflag, symlink.Linkname = tar.TypeSymlink, "/etc/passwd"
	zeros := make([]byte, 64<<20)
	for name, raw := range map[string][]byte{
		"nothing":          nil,
		"no zstd":          good,
		"no tar":           zstdOf(t, []byte("x")),
		"no entries":       zstdOf(t, tarOf(t, nil, nil)),
		"another order":    zstdOf(t, tarOf(t, []*tar.Header{head(b), head(a)}, [][]byte{two, one})),
		"one more":         zstdOf(t, tarOf(t, []*tar.Header{head(a), head(b), head(a)}, [][]byte{one, two, one})),
		"one less":         zstdOf(t, tarOf(t, []*tar.Header{head(a)}, [][]byte{one})),
		"another content":  zstdOf(t, tarOf(t, []*tar.Header{head(a), head(b)}, [][]byte{one, []byte("bete")})),
		"a longer piece":   zstdOf(t, tarOf(t, []*tar.Header{head(a), head(b)}, [][]byte{one, []byte("beta!")})),
		"a link":           zstdOf(t, tarOf(t, []*tar.Header{head(a), symlink}, [][]byte{one, nil})),
		"PAX":              zstdOf(t, tarOf(t, []*tar.Header{pax, head(b)}, bodies)),
		"a long name":      zstdOf(t, tarOf(t, []*tar.Header{long, head(b)}, bodies)),
		"holes":            zstdOf(t, append(gnuSparse(t, a.String())[:512], good[1024:]...)),
		"cut in a piece":   zstdOf(t, good[:515]),
		"cut between":      zstdOf(t, good[:1024]),
		"cut zstd":         zstdOf(t, good)[:20],
		"an endless piece": zstdOf(t, append(good[:512:512], bytes.Repeat(zeros, 4)...)),
		"endless headers":  zstdOf(t, append(tarOf(t, []*tar.Header{pax}, bodies)[:1024:1024], bytes.Repeat(zeros, 4)...)),
		"a huge window":    zstdOf(t, append(good[:512:512], zeros...), zstd.WithWindowSize(512<<20)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(raw)
		runtime.ReadMemStats(&after)
		if fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 48<<20 {
			t.Errorf("%s: %d bytes of memory", name, used)
		}
	}
}

// TestPackReaderFaults: what is wrong with the connection is no fault of the pack.
func TestPackReaderFaults(t *testing.T) {
	broken := errors.New("connection lost")
	blob := &Blob{Digest: "sha256:x", Packed: true, Pieces: []Piece{{sumOf(nil), 1}}}
	err := readPack(io.MultiReader(bytes.NewReader(zstdOf(t, make([]byte, 100))[:8]), errReader{broken}), blob, newBuffers(), func(Piece) bool { return true }, nil)
	if !errors.Is(err, broken) || fault.KindOf(err) != fault.Failed {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }
