package erasure

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// measure runs do on a stream of 256 MiB and its parts, two of three needed.
func measure(b *testing.B, do func(stream []byte, parts [][]byte) error) {
	stream := random(1, 256<<20)
	out, written := buffers(3)
	if _, err := Split(b.Context(), bytes.NewReader(stream), out, Options{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		if err := do(stream, written()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	measure(b, func(stream []byte, _ [][]byte) error {
		_, err := Split(b.Context(), bytes.NewReader(stream), slices.Repeat([]io.Writer{io.Discard}, 3), Options{})
		return err
	})
}

func BenchmarkJoin(b *testing.B) {
	measure(b, func(_ []byte, parts [][]byte) error {
		_, err := Join(b.Context(), sources(parts...), io.Discard)
		return err
	})
}

func BenchmarkJoinWithoutFirst(b *testing.B) {
	measure(b, func(_ []byte, parts [][]byte) error {
		_, err := Join(b.Context(), sources(parts[1:]...), io.Discard)
		return err
	})
}

func BenchmarkExamine(b *testing.B) {
	measure(b, func(_ []byte, parts [][]byte) error {
		_, err := Examine(b.Context(), sources(parts...))
		return err
	})
}

func BenchmarkRepair(b *testing.B) {
	measure(b, func(_ []byte, parts [][]byte) error {
		return Repair(b.Context(), sources(parts[1:]...), []int{1}, []io.Writer{io.Discard})
	})
}
