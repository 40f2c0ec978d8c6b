package erasure

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// trial is a set in which much was damaged, and the originals.
type trial struct {
	header
	stream  []byte
	parts   [][]byte // the originals
	files   [][]byte // what is left
	numbers []int    // from 0, of which part each file was
}

func newTrial(t *testing.T, r *rand.Rand) *trial {
	n := 1 + r.IntN(6)
	k := 1 + r.IntN(n)
	stream := make([]byte, r.IntN(6*k*shard))
	for i := range stream {
		stream[i] = byte(r.Uint32())
	}
	x := &trial{stream: stream, parts: cutUp(t, stream, n, k)}
	x.header, _ = parseHeader(x.parts[0][:headSize])
	for i := range n {
		for range []int{1, 1, 1, 1, 1, 2, 0}[r.IntN(7)] {
			file := bytes.Clone(x.parts[i])
			for range r.IntN(5) {
				file[r.IntN(len(file))] ^= 1 << r.IntN(8)
			}
			switch r.IntN(8) {
			case 0:
				file = file[:r.IntN(len(file))]
			case 1:
				file = append(file, x.parts[i][:1+r.IntN(700)]...)
			}
			x.files, x.numbers = append(x.files, file), append(x.numbers, i)
		}
	}
	r.Shuffle(len(x.files), func(i, j int) {
		x.files[i], x.files[j] = x.files[j], x.files[i]
		x.numbers[i], x.numbers[j] = x.numbers[j], x.numbers[i]
	})
	return x
}

// intact says whether a file has an original's bytes in a place.
func (x *trial) intact(file, from, to int) bool {
	return to <= len(x.files[file]) && bytes.Equal(x.files[file][from:to], x.parts[x.numbers[file]][from:to])
}

// lost says, by the documented layout alone, how many stripes have too few good shards; known whether there is a file
// that tells what it is, ended whether one tells the stream's length.
func (x *trial) lost() (lost int64, known, ended bool) {
	size, last := len(x.parts[0]), 0
	tells := make([]bool, len(x.files))
	for f := range x.files {
		tail := x.intact(f, size-640, size) && len(x.files[f]) == size
		tells[f] = x.intact(f, 0, 512) || tail
		known, ended = known || tells[f], ended || tail
	}
	for at := 512; at < size-640; at = last {
		last = min(at+32+shard, size-640)
		good := map[int]bool{}
		for f := range x.files {
			if tells[f] && x.intact(f, at, last) {
				good[x.numbers[f]] = true
			}
		}
		if len(good) < x.needed {
			lost++
		}
	}
	return lost, known, ended
}

// TestAnyDamage: Join succeeds if and only if each stripe has enough good shards, and so does Repair.
func TestAnyDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	outcomes := map[string]int{}
	for range 3000 {
		x := newTrial(t, r)
		lost, known, ended := x.lost()
		got, report, err := join(t, x.files...)
		out, written := buffers(x.header.parts)
		all := slices.Collect(func(yield func(int) bool) {
			for i := 1; i <= x.header.parts && yield(i); i++ {
			}
		})
		repaired := Repair(t.Context(), sources(x.files...), all, out)
		switch {
		case !known:
			outcomes["unknown"]++
			if err == nil || report != nil || repaired == nil {
				t.Fatalf("no file is a part: %v, %v", err, repaired)
			}
			continue
		case !ended || lost > 0:
			outcomes["lost"]++
			if !errors.Is(err, ErrTooFew) || !errors.Is(repaired, ErrTooFew) || report.Short == 0 {
				t.Fatalf("%d stripes lost, ended %v: %v, %v, %+v", lost, ended, err, repaired, report)
			}
		default:
			outcomes["restored"]++
			if err != nil || repaired != nil || !bytes.Equal(got, x.stream) || !slices.EqualFunc(written(), x.parts, bytes.Equal) {
				t.Fatalf("%v, %v, %+v", err, repaired, report)
			}
		}
		if full := examine(t, x.files...); ended && full.Lost != lost || (full.Short > 0) != (err != nil) {
			t.Fatalf("%d stripes lost, %+v", lost, full)
		}
	}
	if t.Log(outcomes); len(outcomes) != 3 {
		t.Error("the trials do not show all outcomes")
	}
}

// FuzzParts: hostile files make no trouble, and what is read of them is written again as it was.
// Run it with -fuzzminimizetime 20x: with goroutines coverage varies, and Go would shorten one input for a minute.
func FuzzParts(f *testing.F) {
	parts := cutUp(f, random(1, 300), 3, 2)
	f.Add(parts[0], parts[1])
	f.Add(parts[0][:700], parts[2])
	f.Add(cutUp(f, nil, 1, 1)[0], []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) >= headSize {
			if h, ok := parseHeader(a[:headSize]); ok && !bytes.Equal(h.marshal(), a[:headSize]) || !ok && h != (header{}) {
				t.Fatalf("%+v", h)
			}
		}
		if len(a) >= tailSize {
			if x, ok := parseTail(a[len(a)-tailSize:]); ok && !bytes.Equal(x.marshal(), a[len(a)-tailSize:]) || !ok && x != (tail{}) {
				t.Fatalf("%+v", x)
			}
		}
		report, err := Examine(t.Context(), sources(a, b))
		_, joined := Join(t.Context(), sources(a, b), io.Discard)
		if err == nil && (report.Short == 0) != (joined == nil) {
			t.Fatalf("%+v, %v", report, joined)
		}
	})
}

// FuzzFields: headers and tails whose checksum is right, whatever they say.
func FuzzFields(f *testing.F) {
	whole := cutUp(f, random(1, 300), 3, 2)[0]
	f.Add(whole[:headSize-sumSize], whole[len(whole)-112:len(whole)-sumSize], []byte("shards"))
	f.Fuzz(func(t *testing.T, head, end, body []byte) {
		h, b := make([]byte, headSize), make([]byte, tailSize)
		copy(h[:headSize-sumSize], head)
		copy(b[16:], seal(h))
		copy(b, tailMagic)
		copy(b[528:608], end)
		file := slices.Concat(h, body, seal(b))
		report, err := Examine(t.Context(), sources(file))
		if err == nil && report.Length > int64(len(body)*maxParts) {
			t.Fatalf("%d bytes in %d", report.Length, len(file))
		}
		if x, ok := parseTail(b); ok && !bytes.Equal(x.marshal(), b) || !ok && x != (tail{}) {
			t.Fatalf("%+v", x)
		}
	})
}
