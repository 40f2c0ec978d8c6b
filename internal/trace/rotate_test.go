package trace

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRotationAndKeep(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	w := open(t, dir, Options{Sync: SyncNever, SyncEvery: time.Hour, MaxAge: time.Hour, KeepFiles: 3, KeepAge: 10 * time.Hour, Now: clock})
	names := func() string {
		list, err := sources(dir)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, s := range list {
			text += s.name("") + " "
		}
		return text
	}
	step := func(id string, d time.Duration, want string) {
		t.Helper()
		add(t, w, exchange(id, "a"))
		later(d)
		if got := names(); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	step("1", time.Hour-1, "")
	step("2", 1, "")
	step("3", 0, "trace-20261125T160405Z ")
	w.Rotate()
	w.Rotate() // of an empty file does nothing
	step("4", -30*time.Minute, "trace-20261125T160405Z trace-20261125T160405Z-1 ")
	w.Rotate() // the clock was set back
	step("5", 0, "trace-20261125T160405Z trace-20261125T160405Z-1 trace-20261125T160405Z-2 ")
	w.Rotate()
	step("6", 12*time.Hour, "trace-20261125T160405Z-1 trace-20261125T160405Z-2 trace-20261125T160405Z-3 ")
	if ids := consistent(t, dir); !slices.Equal(ids, []string{"3", "4", "5", "6"}) {
		t.Error(ids)
	}
	w.Rotate()
	step("7", 0, "trace-20261126T033405Z ")
	w.Close()
	w = open(t, dir, Options{KeepBytes: 1, Now: clock})
	step("8", 0, "")
}

// TestFailedRotation goes on in the old files.
func TestFailedRotation(t *testing.T) {
	dir, notes := t.TempDir(), ""
	now := time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	w := open(t, dir, Options{Sync: SyncNever, SyncEvery: time.Hour, MaxSize: 300, Note: func(s string) { notes += s }, Now: func() time.Time { return now }})
	add(t, w, exchange("1", strings.Repeat("a", 200)))
	block := filepath.Join(dir, "trace-20261125T150405Z.jsonl")
	os.MkdirAll(block+"/x", 0o700)
	add(t, w, exchange("2", strings.Repeat("a", 200)))
	os.RemoveAll(block)
	if !strings.Contains(notes, "rotate traces") {
		t.Errorf("%q", notes)
	}
	if ids := consistent(t, dir); !slices.Equal(ids, []string{"1", "2"}) {
		t.Error(ids)
	}
	add(t, w, exchange("3", strings.Repeat("a", 200)))
	if list, _ := sources(dir); len(list) != 1 {
		t.Errorf("%v: not tried again", list)
	}
	if ids := consistent(t, dir); !slices.Equal(ids, []string{"1", "2", "3"}) {
		t.Error(ids)
	}
}

// TestRemovedFiles are made anew.
func TestRemovedFiles(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{Sync: SyncNever, SyncEvery: time.Millisecond})
	add(t, w, exchange("1", "a"))
	for _, name := range []string{JSONFile, TextFile, LogfmtFile} {
		os.Remove(filepath.Join(dir, name))
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, JSONFile)); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	add(t, w, exchange("2", "a"))
	if ids := consistent(t, dir); !slices.Equal(ids, []string{"2"}) {
		t.Error(ids)
	}
}
