package state

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

func changed(t *testing.T, files, into map[string]string) []Change {
	t.Helper()
	dir, l := t.TempDir(), layout(t)
	write(t, dir, files)
	a := snapshot(t, l, capturedFrom(t, l, dir, Options{}))
	write(t, dir, into)
	b := snapshot(t, l, capturedFrom(t, l, dir, Options{Parent: a}))
	list, err := Diff(t.Context(), Side{a, l}, Side{b, l})
	fatal(t, err)
	return list
}

// TestDiffOfEqualRecords: lines that come often cost no more than others, and are counted.
func TestDiffOfEqualRecords(t *testing.T) {
	start := time.Now()
	beat := strings.Repeat("{\"beat\":1}\n", 200_000)
	list := changed(t, map[string]string{"logs/beat.jsonl": beat}, map[string]string{"logs/beat.jsonl": beat + "{\"beat\":1}\n{\"beat\":2}\n"})
	if r := list[0].Records; r.Added != 2 || r.Removed+r.Changed > 0 {
		t.Errorf("%+v", r)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// TestDiffOfBombs: JSON whose keys would fill memory once for each of its leaves.
func TestDiffOfBombs(t *testing.T) {
	leaves := strings.Repeat("1,", 100_000) + "1"
	for name, text := range map[string]string{
		"a long key": fmt.Sprintf(`{%q:[%s]}`, strings.Repeat("k", 1<<20), leaves),
		"deep":       strings.Repeat(`{"k":`, 9000) + "[" + leaves + "]" + strings.Repeat("}", 9000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		list := changed(t, map[string]string{"a.json": text}, map[string]string{"a.json": strings.Replace(text, "1,", "2,", 1)})
		runtime.ReadMemStats(&after)
		if r := list[0].Records; r == nil || r.Changed != 1 || r.Added+r.Removed > 0 || len(r.Some[0]) > 1000 {
			t.Errorf("%s: %+v", name, r)
		}
		if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 1000 {
			t.Errorf("%s: %d MiB", name, used)
		}
	}
}
