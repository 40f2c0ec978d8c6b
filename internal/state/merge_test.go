package state

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/live"
)

// TestMergeOfAChangingDatabase: between the list and the instant a journal and an index went, and an index came.
func TestMergeOfAChangingDatabase(t *testing.T) {
	dir := func(p string) Found { return Found{Entry: Entry{Path: p, Kind: Dir, Mode: 0o750, Records: -1}} }
	file := func(p string) Found { return Found{From: "/root/" + p, Entry: emptyFile(p)} }
	before := []Found{dir("memory"), dir("memory/chroma"), file("memory/chroma/chroma.sqlite3"), file("memory/chroma/chroma.sqlite3-journal"),
		dir("memory/chroma/old"), file("memory/chroma/old/header.bin"), file("memory/note")}
	after := []Found{dir("memory"), dir("memory/chroma"), file("memory/chroma/chroma.sqlite3"), dir("memory/chroma/new"), file("memory/chroma/new/header.bin"),
		file("memory/note")}
	s := &live.Staged{Chroma: []live.Database{{Dir: "memory/chroma"}}, Files: []live.File{
		{Rel: "memory/chroma/chroma.sqlite3", Path: "/staged/chroma.sqlite3"}, {Rel: "memory/chroma/new/header.bin", Path: "/staged/header.bin"}}}
	for name, then := range map[string][]Found{"there": after, "gone again": before} {
		list := merge(before, then, s)
		for i := range list {
			list[i].Sum = sumOf(nil)
		}
		tree, err := newTree(list)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, e := range tree.Entries {
			got = append(got, e.Path)
		}
		want := []string{"memory", "memory/chroma", "memory/chroma/chroma.sqlite3", "memory/chroma/new", "memory/chroma/new/header.bin", "memory/chroma/old", "memory/note"}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestCommitsInTheLogAlone: a database in WAL mode rests while what is committed lies beside it, and none of that is missed.
func TestCommitsInTheLogAlone(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"memory/note": "x"})
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "memory/diary.db")+"?_pragma=journal_mode(wal)&_pragma=wal_autocheckpoint(0)")
	fatal(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE t(n)")
	fatal(t, err)
	time.Sleep(settled + 100*time.Millisecond)
	l, memo := layout(t), NewMemo()
	var parent *Snapshot
	for n := range 3 {
		_, err := db.Exec("INSERT INTO t VALUES (?)", n)
		fatal(t, err)
		found, err := Collect(t.Context(), dir, CollectOptions{Memo: memo, Parent: parent, Docker: "none"})
		fatal(t, err)
		c, err := Capture(t.Context(), l, found.List, Options{Memo: memo, Parent: parent, Info: Info{Created: time.Unix(1e9+int64(n), 0)}})
		found.Close()
		fatal(t, err)
		parent = snapshot(t, l, c)
		to := filepath.Join(t.TempDir(), fmt.Sprint(n))
		_, err = parent.Restore(t.Context(), l, to, RestoreOptions{})
		fatal(t, err)
		copied, err := sql.Open("sqlite", "file:"+filepath.Join(to, "memory/diary.db")+"?immutable=1&mode=ro")
		fatal(t, err)
		var rows int
		fatal(t, copied.QueryRow("SELECT count(*) FROM t").Scan(&rows))
		copied.Close()
		if rows != n+1 {
			t.Errorf("%d rows, %d were committed", rows, n+1)
		}
	}
}
