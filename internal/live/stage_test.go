package live

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// follow keeps the last number that a writer printed.
func follow(c *child) *atomic.Int64 {
	var n atomic.Int64
	go func() {
		for c.lines.Scan() {
			i, _ := strconv.Atoi(c.lines.Text())
			n.Store(int64(i))
		}
	}()
	return &n
}

// TestStageWhileAllIsWritten: rows are a prefix of what was committed, with all that was acknowledged before; lines are whole.
func TestStageWhileAllIsWritten(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/settings.json", "{}")
	lines := start(t, "jsonl", root+"/a.jsonl")
	lines.first(t)
	acked := map[string]*atomic.Int64{}
	for _, mode := range []string{"delete", "wal", "truncate", "persist"} {
		c := start(t, "sqlite", root+"/"+mode+".db", mode)
		c.first(t)
		acked[mode+".db"] = follow(c)
	}
	files := []string{"a.jsonl", "settings.json", "gone", "delete.db", "wal.db", "wal.db-wal", "wal.db-shm", "truncate.db", "persist.db", "persist.db-journal"}
	time.Sleep(200 * time.Millisecond)
	for range 8 {
		before := map[string]int64{}
		for name, n := range acked {
			before[name] = n.Load()
		}
		staging := t.TempDir()
		s, err := Stage(t.Context(), root, files, staging, noDocker)
		check(t, err)
		t.Logf("frozen %v of %v, attempts %d, stopped %d, warnings %v", s.Frozen, s.FrozenAll, s.Attempts, len(s.Stopped), s.Warnings)
		if len(s.Files) != 6 || len(s.Gone) != 1 || len(s.Absorbed) != 3 || len(s.Stopped) != 5 {
			t.Fatalf("%+v", s)
		}
		for _, f := range s.Files {
			switch f.Kind {
			case SQLite:
				if n := int64(rows(t, f.Path)); n <= before[f.Rel] || n > acked[f.Rel].Load()+2 {
					t.Errorf("%s has %d rows, acknowledged were %d, now %d", f.Rel, n, before[f.Rel]+1, acked[f.Rel].Load()+1)
				}
			case JSONL:
				whole(t, f)
			}
		}
		again, err := filepath.Glob(root + "/wal.db*")
		check(t, err)
		if len(again) != 3 {
			t.Errorf("beside the source lie %v", again)
		}
	}
}

func whole(t *testing.T, f File) {
	t.Helper()
	in, err := os.Open(f.Path)
	check(t, err)
	defer in.Close()
	d, n := json.NewDecoder(in), int64(0)
	for ; d.More(); n++ {
		var v struct{ N int64 }
		if err := d.Decode(&v); err != nil || v.N != n {
			t.Fatalf("line %d: %d, %v", n, v.N, err)
		}
	}
	if n != f.Records || n == 0 {
		t.Errorf("%d lines, %d reported, %d bytes torn", n, f.Records, f.Torn)
	}
}

func TestCopyJSONL(t *testing.T) {
	for text, want := range map[string]struct {
		lines, torn int64
	}{
		"":                       {0, 0},
		"{\"a\":1}\n":            {1, 0},
		"{\"a\":1}\n{\"a\":2}":   {2, 0},
		"{\"a\":1}\n{\"a\":2":    {1, 6},
		"{\"a\":1}\n12":          {1, 2},
		"{\"a\":1}":              {1, 0},
		"{\"a\":1}\n\n{\"b\":\"": {2, 6},
		"torn":                   {0, 4},
	} {
		dir := t.TempDir()
		write(t, dir+"/a.jsonl", text)
		check(t, os.Chmod(dir+"/a.jsonl", 0o440))
		lines, torn, err := CopyJSONL(t.Context(), dir+"/a.jsonl", dir+"/b.jsonl")
		check(t, err)
		info, err := os.Stat(dir + "/b.jsonl")
		check(t, err)
		if lines != want.lines || torn != want.torn || info.Size() != int64(len(text))-torn || info.Mode() != 0o440 {
			t.Errorf("%q: %d lines, %d torn, size %d, mode %v", text, lines, torn, info.Size(), info.Mode())
		}
	}
}
