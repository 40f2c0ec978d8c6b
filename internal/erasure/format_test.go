package erasure

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// What follows reads parts by docs/split.md and uses nothing of the package or of its library.

// times multiplies in GF(2^8), bit by bit.
func times(a, b byte) (product byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		carry := a >> 7
		a = a<<1 ^ carry*0x1d
	}
	return product
}

func inverse(a byte) byte {
	for b := 1; b < 256; b++ {
		if times(a, byte(b)) == 1 {
			return byte(b)
		}
	}
	panic("there is none of 0")
}

// interpolate returns the byte of part p from those of the parts in known, which are as many as are needed.
func interpolate(p int, known map[int]byte) (sum byte) {
	for q, value := range known {
		c := byte(1)
		for m := range known {
			if m != q {
				c = times(c, times(byte(p-1)^byte(m-1), inverse(byte(q-1)^byte(m-1))))
			}
		}
		sum ^= times(c, value)
	}
	return sum
}

// byTheBook restores a stream from exactly as many undamaged parts as are needed.
func byTheBook(t *testing.T, parts [][]byte) (stream []byte) {
	t.Helper()
	le := binary.LittleEndian
	sum := func(bytes ...byte) []byte { s := sha256.Sum256(bytes); return s[:] }
	first := parts[0]
	end := len(first) - 640
	needed, size, length := int(le.Uint16(first[36:])), int(le.Uint32(first[40:])), int(le.Uint64(first[end+528:]))
	for _, p := range parts {
		if string(p[:16]) != "agibake part v1\n" || string(p[end:][:16]) != "agibake tail v1\n" || len(parts) != needed || !bytes.Equal(p[:512], p[end+16:][:512]) ||
			!bytes.Equal(p[480:512], sum(p[:480]...)) || !bytes.Equal(p[end+608:], sum(p[end:end+608]...)) || !bytes.Equal(p[end+576:end+608], sum(p[:end]...)) {
			t.Fatal("header or tail is not as documented")
		}
	}
	for i, at := 0, 512; at < end; i++ {
		n := min(size, end-at-32)
		for q := 1; q <= needed; q++ {
			for x := range n {
				known := map[int]byte{}
				for _, p := range parts {
					known[int(le.Uint16(p[32:]))] = p[at+32+x]
				}
				stream = append(stream, interpolate(q, known))
			}
		}
		for _, p := range parts {
			where := append(bytes.Clone(p[16:32]), p[32], p[33], 0, 0)
			where = le.AppendUint64(where, uint64(i))
			if !bytes.Equal(p[at:at+32], sum(append(where, p[at+32:at+32+n]...)...)) {
				t.Fatalf("stripe %d: the sum is not as documented", i)
			}
		}
		at += 32 + n
		stream = stream[:min(len(stream), length)]
	}
	if !bytes.Equal(first[end+544:end+576], sum(stream...)) {
		t.Fatal("the stream is not what the tail says")
	}
	return stream
}

// TestByTheBook: another program, written from the document alone, restores from data and parity.
func TestByTheBook(t *testing.T) {
	for _, of := range [][2]int{{1, 1}, {3, 2}, {2, 1}, {4, 4}, {9, 5}} {
		stream := random(uint64(of[0]), 3*of[1]*shard+17)
		parts := cutUp(t, stream, of[0], of[1])
		if !bytes.Equal(byTheBook(t, parts[:of[1]]), stream) || !bytes.Equal(byTheBook(t, parts[of[0]-of[1]:]), stream) {
			t.Errorf("%v: another stream", of)
		}
	}
}

// TestTwoOfThree holds the third part against the one line that the document gives for it.
func TestTwoOfThree(t *testing.T) {
	parts := cutUp(t, random(1, 2*shard), 3, 2)
	for x := headSize + sumSize; x < headSize+sumSize+shard; x++ {
		if parts[2][x] != times(3, parts[0][x])^times(2, parts[1][x]) {
			t.Fatalf("byte %d", x)
		}
	}
}

// TestByHand runs the script of docs/split.md.
func TestByHand(t *testing.T) {
	doc, err := os.ReadFile("../../docs/split.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(doc), "```sh\n")
	script, _, _ = strings.Cut(script, "```")
	referee.Need(t, "sh", "dd", "od", "stat", "head")
	for _, of := range [][2]int{{3, 2}, {3, 3}, {1, 1}} {
		stream := random(2, 4*of[1]*shard+1)
		args := []string{"-ec", script, "join"}
		for i, p := range cutUp(t, stream, of[0], of[1])[:of[1]] {
			path := filepath.Join(t.TempDir(), fmt.Sprintf("part %d", i+1))
			if err := os.WriteFile(path, p, 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		if got := referee.Run(t, "sh", args...); got != string(stream) {
			t.Errorf("%v: %d bytes of %d, or others", of, len(got), len(stream))
		}
	}
}
