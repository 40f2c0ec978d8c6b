package erasure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/agibake/agibake/internal/fault"
)

const shard = 64 // bytes, in tests of many stripes

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// cutUp returns the parts of a stream, with small shards and an ID that depends on the stream.
func cutUp(t testing.TB, stream []byte, parts, needed int) [][]byte {
	t.Helper()
	h, err := Options{Parts: parts, Needed: needed, Name: "sehr geheim"}.header(shard)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(stream)
	h.id = [16]byte(sum[:])
	out, written := buffers(parts)
	set, err := h.split(t.Context(), iotest.HalfReader(bytes.NewReader(stream)), out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sum); set.SHA256 != want || set.Length != int64(len(stream)) || set.Parts != parts || set.Needed != needed {
		t.Fatalf("%+v", set)
	}
	return written()
}

func buffers(n int) (out []io.Writer, written func() [][]byte) {
	list := make([]bytes.Buffer, n)
	for i := range list {
		out = append(out, &list[i])
	}
	return out, func() (all [][]byte) {
		for i := range list {
			all = append(all, list[i].Bytes())
		}
		return all
	}
}

func sources(parts ...[]byte) (list []Source) {
	for i, p := range parts {
		list = append(list, Source{fmt.Sprintf("file %c", 'a'+i), bytes.NewReader(p), int64(len(p))})
	}
	return list
}

// flip returns a copy of b with one bit changed.
func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

func join(t testing.TB, parts ...[]byte) ([]byte, *Report, error) {
	t.Helper()
	var out bytes.Buffer
	r, err := Join(t.Context(), sources(parts...), &out)
	return out.Bytes(), r, err
}

func examine(t testing.TB, parts ...[]byte) *Report {
	t.Helper()
	r, err := Examine(t.Context(), sources(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func states(r *Report) (list []State) {
	for _, p := range r.Parts {
		list = append(list, p.State)
	}
	return list
}

func TestLengths(t *testing.T) {
	for _, of := range [][2]int{{1, 1}, {3, 2}, {3, 3}, {5, 1}, {32, 20}} {
		full := shard * of[1]
		for _, n := range []int{0, 1, 2, shard, full - 1, full, full + 1, 3 * full, 3*full + shard + 1} {
			stream := random(uint64(n), n)
			parts := cutUp(t, stream, of[0], of[1])
			for i := range parts { // any window of as many as are needed
				some := append(slices.Clone(parts[i:]), parts[:i]...)[:of[1]]
				if got, r, err := join(t, some...); err != nil || !bytes.Equal(got, stream) || len(r.Missing) != of[0]-of[1] || r.Length != int64(n) {
					t.Fatalf("%d bytes in %v from part %d: %v, %+v", n, of, i+1, err, r)
				}
			}
			if r := examine(t, parts...); slices.ContainsFunc(states(r), func(s State) bool { return s != OK }) || r.Short != 0 || r.Missing != nil {
				t.Fatalf("%d bytes in %v: %+v", n, of, r)
			}
		}
	}
}

// TestEachByteCounts: whichever byte of a part changes is noticed, and the other part restores with what is left of it.
func TestEachByteCounts(t *testing.T) {
	stream := random(1, 5*shard+7)
	parts := cutUp(t, stream, 2, 1)
	for at := range parts[0] {
		bad := flip(parts[0], at)
		if r := examine(t, bad, parts[1]); r.Parts[0].State != Damaged || r.Parts[1].State != OK || r.Lost != 0 || r.Parts[0].Number != 1 {
			t.Fatalf("byte %d: %+v", at, r)
		}
		got, _, err := join(t, bad)
		inRecord := at >= headSize && at < len(bad)-tailSize
		if inTail := at >= len(bad)-tailSize; (err == nil) == (inRecord || inTail) || err == nil && !bytes.Equal(got, stream) {
			t.Fatalf("byte %d alone: %v", at, err)
		}
	}
}

// TestAllDamaged: every part is damaged, each in other stripes, one in its header and one cut.
func TestAllDamaged(t *testing.T) {
	stream := random(2, 2*shard*9+5)
	parts := cutUp(t, stream, 3, 2)
	record := func(n int) int { return headSize + n*(sumSize+shard) }
	bad := [][]byte{flip(flip(parts[0], 40), record(2)+50), flip(flip(parts[1], record(0)), len(parts[1])-1), parts[2][:record(8)+10]}
	got, _, err := join(t, bad...)
	if err != nil || !bytes.Equal(got, stream) {
		t.Fatal(err)
	}
	r := examine(t, bad...)
	if !slices.Equal(states(r), []State{Damaged, Damaged, Cut}) || r.Parts[0].BadStripes != 1 || r.Parts[1].BadStripes != 1 || r.Parts[2].BadStripes != 2 || r.Parts[2].Checked != 10 || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
	out, written := buffers(3)
	if err := Repair(t.Context(), sources(bad...), []int{3, 1, 2}, out); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{3, 1, 2} {
		if !bytes.Equal(written()[i], parts[n-1]) {
			t.Errorf("part %d is not what it was", n)
		}
	}

	bad[1] = flip(bad[1], record(2)+1) // a second shard of stripe 2
	_, r, err = join(t, bad...)
	if !errors.Is(err, ErrTooFew) || fault.KindOf(err) != fault.Untrusted || r.Short != 1 ||
		!strings.Contains(err.Error(), "stripe 3 of 10: good shards: 1 of the 2 needed; damaged: file a (part 1, damaged), file b") {
		t.Errorf("%v, %+v", err, r)
	}
	out, written = buffers(1)
	if err := Repair(t.Context(), sources(bad...), []int{3}, out); !errors.Is(err, ErrTooFew) || len(written()[0]) >= len(parts[2]) {
		t.Error(err)
	}
	if r := examine(t, bad...); r.Lost != 1 || r.Short != 1 {
		t.Errorf("%+v", r)
	}
}

func TestTooFew(t *testing.T) {
	parts := cutUp(t, random(3, 1000), 5, 3)
	_, r, err := join(t, parts[4])
	if !errors.Is(err, ErrTooFew) || fault.KindOf(err) != fault.Failed || !strings.HasSuffix(err.Error(), "missing: 1, 2, 3, 4: too few parts") ||
		fault.HintOf(err) != "find 2 more of parts 1, 2, 3, 4" || r.Short != 2 || !slices.Equal(r.Missing, []int{1, 2, 3, 4}) {
		t.Errorf("%v, hint %q, %+v", err, fault.HintOf(err), r)
	}
	for i, p := range parts {
		parts[i] = p[:len(p)-1]
	}
	if _, r, err = join(t, parts...); !errors.Is(err, ErrTooFew) || r.Length != -1 || r.Parts[0].State != Cut {
		t.Errorf("all cut: %v, %+v", err, r)
	}
	if r := examine(t, parts...); r.Length != -1 || r.Short != 1 || r.SHA256 != "" {
		t.Errorf("%+v", r)
	}
}

func TestStrangers(t *testing.T) {
	stream := random(4, 1000)
	parts, others := cutUp(t, stream, 3, 2), cutUp(t, random(5, 1000), 3, 2)
	for name, do := range map[string]func(...Source) error{
		"join":    func(s ...Source) error { _, err := Join(t.Context(), s, io.Discard); return err },
		"examine": func(s ...Source) error { _, err := Examine(t.Context(), s); return err },
		"repair":  func(s ...Source) error { return Repair(t.Context(), s, nil, nil) },
	} {
		err := do(sources(parts[0], others[1], parts[2])...)
		if !errors.Is(err, ErrMixed) || fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "file b of set") {
			t.Errorf("%s of two sets: %v", name, err)
		}
		if err := do(sources(stream)...); fault.KindOf(err) != fault.Input {
			t.Errorf("%s of no part: %v", name, err)
		}
		if err := do(); fault.KindOf(err) != fault.Input {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
	// A file that is no part, an empty one, and a part twice, each time damaged elsewhere, do no harm.
	last := len(parts[1]) - tailSize - 1
	got, r, err := join(t, stream, flip(parts[1], headSize), nil, flip(parts[1], last), append(bytes.Clone(parts[2]), "appended"...))
	if err != nil || !bytes.Equal(got, stream) || !slices.Equal(states(r), []State{Foreign, Damaged, Foreign, OK, Damaged}) {
		t.Errorf("%v, %+v", err, r)
	}
	// Join takes the last stripe of the second copy from the first one and never looks at it; Examine does.
	if r := examine(t, flip(parts[1], headSize), flip(parts[1], last)); r.Parts[1].BadStripes != 1 || r.Lost != 8 || r.Short != 1 || !slices.Equal(r.Missing, []int{1, 3}) {
		t.Errorf("%+v", r)
	}
}

// TestMoved: a shard in the place of another one is as bad as a damaged one.
func TestMoved(t *testing.T) {
	stream := make([]byte, 4*shard*2) // all shards are equal
	parts := cutUp(t, stream, 3, 2)
	record := func(p, n int) []byte { return parts[p][headSize+n*(sumSize+shard):][:sumSize+shard] }
	copy(record(0, 1), record(0, 2)) // another stripe's
	copy(record(1, 3), record(0, 3)) // another part's
	if r := examine(t, parts...); r.Parts[0].BadStripes != 1 || r.Parts[1].BadStripes != 1 {
		t.Errorf("%+v", r)
	}
}

// TestForged: who makes all sums right is found by the stream's own, or by the other parts.
func TestForged(t *testing.T) {
	parts := cutUp(t, random(6, 1000), 3, 2)
	h, _ := parseHeader(parts[0][:headSize])
	record := parts[0][headSize:][:sumSize+shard]
	record[sumSize] ^= 1
	copy(record, h.sum(0, record[sumSize:]))
	if _, _, err := join(t, parts...); fault.KindOf(err) != fault.Untrusted || errors.Is(err, ErrTooFew) {
		t.Error(err)
	}
	if r, err := Examine(t.Context(), sources(parts...)); fault.KindOf(err) != fault.Untrusted || r == nil || r.Parts[0].State != Damaged {
		t.Errorf("%v, %+v", err, r)
	}
	h.name = "another"
	renamed := append(h.marshal(), parts[0][headSize:]...)
	if _, _, err := join(t, renamed, parts[1]); fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), "contradict") {
		t.Error(err)
	}
	last, _ := parseTail(parts[1][len(parts[1])-tailSize:])
	last.stream[0] ^= 1
	lying := append(parts[1][:len(parts[1])-tailSize:len(parts[1])-tailSize], last.marshal()...)
	if _, _, err := join(t, lying, parts[2]); fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), "contradict") {
		t.Error(err)
	}
}

// TestLyingSizes: what a source says of its size makes nobody read for ever or out of bounds.
func TestLyingSizes(t *testing.T) {
	stream := random(7, 1000)
	parts := cutUp(t, stream, 3, 2)
	for _, size := range []int64{-1, 0, 511, 512, 1 << 40, 1<<63 - 1, -1 << 63} {
		list := sources(parts...)
		list[0].Size = size
		var out bytes.Buffer
		if r, err := Join(t.Context(), list, &out); err != nil || !bytes.Equal(out.Bytes(), stream) || r.Parts[0].State == OK {
			t.Errorf("size %d: %v, %+v", size, err, r)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Parts: 3}, {Needed: 2}, {Parts: -1, Needed: -1}, {Parts: 33, Needed: 2}, {Parts: 3, Needed: 4}, {Name: "a\nb"}, {Name: "\xff"}, {Name: strings.Repeat("a", 256)}} {
		if _, err := Split(t.Context(), strings.NewReader("a"), nil, o); fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Split(t.Context(), strings.NewReader("a"), []io.Writer{io.Discard}, Options{}); fault.KindOf(err) != fault.Usage {
		t.Error(err)
	}
	for n := 1; n <= maxParts; n++ {
		if h, err := (Options{Parts: n, Needed: 1}).header(0); err != nil || !h.of(1).valid() {
			t.Errorf("%d parts: %+v, %v", n, h, err)
		}
	}
	parts := cutUp(t, []byte("a"), 3, 2)
	for _, numbers := range [][]int{{0}, {4}, {-1}, {1, 1}, {1, 2, 3}} {
		out, _ := buffers(len(numbers) % 3)
		if err := Repair(t.Context(), sources(parts...), numbers, out); fault.KindOf(err) != fault.Usage {
			t.Errorf("%v: %v", numbers, err)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// TestFaults: a stream that breaks off, a full disk and a signal all leave parts without a tail.
func TestFaults(t *testing.T) {
	stream := random(8, 7<<20)
	stop, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		in   io.Reader
		room int
		want error
	}{
		{"cut stream", t.Context(), io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(io.ErrUnexpectedEOF)), 1 << 30, io.ErrUnexpectedEOF},
		{"an error that wraps the end", t.Context(), io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(fmt.Errorf("lost: %w", io.EOF))), 1 << 30, io.EOF},
		{"an idle reader", t.Context(), idle{}, 1 << 30, io.ErrNoProgress},
		{"no room", t.Context(), bytes.NewReader(stream), 3 << 20, io.ErrClosedPipe},
		{"stopped", stop, bytes.NewReader(stream), 1 << 30, context.Canceled},
	} {
		var cut bytes.Buffer
		_, err := Split(c.ctx, c.in, []io.Writer{&cut, &failing{c.room}, io.Discard}, Options{})
		if !errors.Is(err, c.want) || bytes.Contains(cut.Bytes(), []byte(tailMagic)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	parts := cutUp(t, stream[:1000], 3, 2)
	if _, err := Join(stop, sources(parts...), io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Join(t.Context(), sources(parts...), &failing{200}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if err := Repair(t.Context(), sources(parts...), []int{2}, []io.Writer{&failing{700}}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// sick fails to read from an offset on, as a disk does.
type sick struct {
	io.ReaderAt
	from int64
}

func (s sick) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > s.from {
		return 0, io.ErrClosedPipe
	}
	return s.ReaderAt.ReadAt(b, at)
}

func TestSickDisk(t *testing.T) {
	stream := random(9, 2000)
	list := sources(cutUp(t, stream, 3, 2)...)
	list[0].R = sick{list[0].R, 700}
	var out bytes.Buffer
	r, err := Join(t.Context(), list, &out)
	if err != nil || !bytes.Equal(out.Bytes(), stream) || r.Parts[0].State != Damaged || !errors.Is(r.Parts[0].Err, io.ErrClosedPipe) {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestMemory: whatever the length, what is allocated in all stays below the bound.
func TestMemory(t *testing.T) {
	for _, o := range []Options{{}, {Parts: 32, Needed: 31}} {
		h, _ := o.header(0)
		out := slices.Repeat([]io.Writer{io.Discard}, h.parts)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Split(t.Context(), io.LimitReader(rand.NewChaCha8([32]byte{}), 96<<20+1), out, o); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 32 {
			t.Errorf("%d parts: %d MiB", h.parts, n)
		}
	}
}
