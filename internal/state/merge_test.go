package state

import (
	"slices"
	"testing"

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
