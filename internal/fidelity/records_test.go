package fidelity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/weights"
)

func TestLines(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 600<<10) + `"}`
	for text, want := range map[string]int{
		"":                        0,
		"\n\n":                    0,
		"{}\n{}\n":                2,
		"{}\n\r\n{}\r\n":          2,
		"{}\n{}":                  2,
		"{}\n{\"cut":              1,
		long + "\n" + long + "\n": 2,
	} {
		r, err := lines(t.Context(), strings.NewReader(text), 0)
		if err != nil || r.Count != want || len(r.Marks) != markSize*want {
			t.Errorf("%.30q: %+v, %v", text, r, err)
		}
	}
	if _, err := lines(t.Context(), strings.NewReader(strings.Repeat("x", maxRecord+1<<20)), 0); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestLost(t *testing.T) {
	list := func(text string, was int, marks bool) *Records {
		r, err := lines(t.Context(), strings.NewReader(strings.ReplaceAll(text, " ", "\n")+"\n"), was)
		if err != nil {
			t.Fatal(err)
		}
		if !marks {
			r.Marks = nil
		}
		return r
	}
	for _, c := range []struct {
		was, is, want string
		grown         int
		blind         string // without marks
	}{
		{"1 2 3", "1 2 3", "", 0, ""},
		{"1 2 3", "1 2 3 4 5", "", 2, ""},
		{"1 2 3", "1 2", "1 of 3 records are missing", 0, "2 records, were 3; they are not the same"},
		{"1 2 3", "1 4 3", "1 of 3 records are missing or changed, 1 are others", 0, "3 records, were 3; they are not the same"},
		{"1 2 3", "3 2 1", "the records are in another order", 0, "3 records, were 3; they are not the same"},
		{"1 2 3", "0 1 2 3", "", 1, "4 records, were 3; they are not the same"},
		{"1 1 1", "1 1", "1 of 3 records are missing", 0, "2 records, were 3; they are not the same"},
		{"", "1", "", 1, ""},
	} {
		was := list(c.was, 0, true)
		is := list(c.is, was.Count, true)
		if got, grown := lost(was, is); got != c.want || grown != c.grown {
			t.Errorf("%s → %s: %q, %d", c.was, c.is, got, grown)
		}
		if got, _ := lost(list(c.was, 0, false), list(c.is, was.Count, false)); got != c.blind {
			t.Errorf("%s → %s without marks: %q", c.was, c.is, got)
		}
	}
}

// TestHash: whatever lies where, the sums are those of the parts.
func TestHash(t *testing.T) {
	data := make([]byte, 3*piece+17)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	plain := func(b []byte) string {
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:])
	}
	var tensors []weights.Tensor
	want := []string{plain(data)}
	at := int64(100)
	for _, n := range []int64{0, 5, piece - 105, 0, piece, 7, piece + 10, 0} {
		tensors = append(tensors, weights.Tensor{Offset: at, Size: n})
		want = append(want, plain(data[at:at+n]))
		at += n
	}
	got, err := hash(t.Context(), bytes.NewReader(data), int64(len(data)), tensors, func(int64) {})
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%v\n%v\n%v", err, got, want)
	}
	if _, err := hash(t.Context(), bytes.NewReader(data[:100]), int64(len(data)), tensors, func(int64) {}); err == nil {
		t.Error("a file that became shorter is taken")
	}
}
