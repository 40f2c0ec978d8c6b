package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/chroma"
)

// judgeVectors lets a second Chroma serve what was restored.
func judgeVectors(t *testing.T, root string, least, most int64) {
	t.Helper()
	thoughts := thoughtsOf(t, chroma.Serve(t, root+"/memory/chroma"))
	got, err := thoughts.Get()
	fatal(t, err)
	n := len(got) - filled
	t.Logf("%d of the writer's vectors restored", n)
	if int64(n) < least || int64(n) > most+10 {
		t.Fatalf("%d of the writer's vectors, acknowledged were %d before, %d after", n, least, most)
	}
	var want []chroma.Record
	for i := 0; i < filled; i += 250 {
		want = append(want, chroma.Numbered("a", i, 250)...)
	}
	for i := 0; i < n; i += 10 {
		want = append(want, chroma.Numbered("w", i, 10)...)
	}
	exported := strings.SplitAfter(readString(t, filepath.Join(root, export)), "\n")
	if len(exported) != len(got)+1 {
		t.Fatalf("%d records exported, %d served", len(exported)-1, len(got))
	}
	for i, g := range got {
		var e struct {
			ID, Document string
			Embedding    []float32
		}
		fatal(t, json.Unmarshal([]byte(exported[i]), &e))
		if w := want[i]; g.ID != w.ID || g.Document == nil || *g.Document != *w.Document || !slices.Equal(g.Embedding, w.Embedding) {
			t.Fatalf("%s was added, %s is served, and not the same", w.ID, g.ID)
		}
		if e.ID != g.ID || e.Document != *g.Document || !slices.Equal(e.Embedding, g.Embedding) {
			t.Fatalf("%s is exported, %s served, and not the same", e.ID, g.ID)
		}
	}
	last := got[len(got)-1]
	if hit, err := thoughts.Nearest(last.Embedding); err != nil || hit != last.ID {
		t.Errorf("%s is not found but %s: %v", last.ID, hit, err)
	}
}

func judgeLines(t *testing.T, root string, least, most int64) {
	t.Helper()
	rest, n := readString(t, filepath.Join(root, lines)), int64(0)
	for ok := true; rest != ""; n++ {
		if rest, ok = strings.CutPrefix(rest, logLine(n)); !ok {
			t.Fatalf("line %d is not whole, or not the next: %.100q", n, rest)
		}
	}
	if n < least || n > most+1 {
		t.Errorf("%d lines, acknowledged were %d before, %d after", n, least, most)
	}
}

func judgeRows(t *testing.T, root string, least, most int64) {
	t.Helper()
	path := filepath.Join(root, database)
	if beside, _ := filepath.Glob(path + "-*"); len(beside) > 0 {
		t.Errorf("beside the database: %v", beside)
	}
	out := referee.Run(t, "sqlite3", path, "PRAGMA quick_check; SELECT count(*) FROM t; SELECT ifnull(max(n), -1) + 1 FROM t")
	var verdict string
	var n, end int64
	if _, err := fmt.Sscan(out, &verdict, &n, &end); err != nil || verdict != "ok" || n != end || n < least || n > most+1 {
		t.Errorf("%v: %q, acknowledged were %d before, %d after", err, out, least, most)
	}
}
