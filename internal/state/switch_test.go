package state

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// one is a folder that holds nothing but a word.
func one(t testing.TB, path, word string) string {
	t.Helper()
	write(t, path, map[string]string{"word": word})
	return path
}

func words(t testing.TB, root string) (list []string) {
	t.Helper()
	formers, err := Formers(root)
	fatal(t, err)
	for _, f := range formers {
		list = append(list, read(t, filepath.Join(f, "word")))
	}
	return list
}

// TestSwitchKeepsAll: former states keep their order and nothing replaces one, whatever the clock does.
func TestSwitchKeepsAll(t *testing.T) {
	dir := t.TempDir()
	root, now := filepath.Join(dir, "core"), time.Unix(1e9, 0)
	for i, word := range []string{"first", "second", "third", "fourth"} {
		at := now.Add(-time.Duration(i/2) * time.Hour) // twice the same second, then one that was before
		former, err := Switch(one(t, filepath.Join(dir, "staging"), word), root, at)
		fatal(t, err)
		if (former == "") != (i == 0) || read(t, filepath.Join(root, "word")) != word {
			t.Errorf("%s: %q", word, former)
		}
	}
	if got := words(t, root); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("%q", got)
	}
	undone, err := Undo(root)
	fatal(t, err)
	if read(t, filepath.Join(root, "word")) != "third" || read(t, filepath.Join(undone, "word")) != "fourth" {
		t.Error("undo brought something else back")
	}
	for range 2 {
		_, err = Undo(root)
		fatal(t, err)
	}
	if _, err = Undo(root); read(t, filepath.Join(root, "word")) != "first" || fault.KindOf(err) != fault.Input {
		t.Errorf("after the last undo: %v", err)
	}
}

// TestSwitchThroughLink: it is the folder that changes places, and the link goes on leading to it.
func TestSwitchThroughLink(t *testing.T) {
	dir := t.TempDir()
	root, link := one(t, filepath.Join(dir, "far/away"), "old"), filepath.Join(dir, "link")
	fatal(t, os.Symlink(root, link))
	x := &Snapshot{}
	x.Index.Digest = "sha256:0123456789abcdef"
	staging := x.Staging(link)
	if filepath.Dir(staging) != filepath.Join(dir, "far") {
		t.Error(staging)
	}
	_, err := Switch(one(t, staging, "new"), link, time.Now())
	fatal(t, err)
	if to, _ := os.Readlink(link); to != root || read(t, filepath.Join(link, "word")) != "new" || !slices.Equal(words(t, link), []string{"old"}) {
		t.Errorf("the link leads to %s", to)
	}
	_, err = Undo(link)
	fatal(t, err)
	if read(t, filepath.Join(root, "word")) != "old" {
		t.Error("undo did nothing")
	}
}

func TestSwitchRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"file": "x"})
	staging := one(t, filepath.Join(dir, "staging"), "new")
	if _, err := Switch(staging, filepath.Join(dir, "file"), time.Now()); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	if read(t, filepath.Join(dir, "file")) != "x" || read(t, filepath.Join(staging, "word")) != "new" {
		t.Error("something changed")
	}
}

// TestPlaceAndBack: single paths are put in place, and Undo brings just them back.
func TestPlaceAndBack(t *testing.T) {
	dir := t.TempDir()
	root, staging := filepath.Join(dir, "core"), filepath.Join(dir, "staging")
	write(t, root, map[string]string{"a/b/c": "old", "a/other": "old", "d": "old", "e": "old"})
	write(t, staging, map[string]string{"a/b/c": "new", "d": "new", "n/e/w": "new"})
	now := time.Unix(1e9, 0)
	former, err := Place(staging, root, []string{"a/b/c", "d", "./a/b/", "n/e/w", "d"}, now)
	fatal(t, err)
	for name, want := range map[string]string{"a/b/c": "new", "a/other": "old", "d": "new", "e": "old", "n/e/w": "new"} {
		if got := read(t, filepath.Join(root, name)); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	if read(t, filepath.Join(former, "a/b/c")) != "old" {
		t.Error("the old one is not kept")
	}
	write(t, staging, map[string]string{"d": "newer"})
	_, err = Place(staging, root, []string{"d"}, now) // in the same second
	fatal(t, err)
	for _, want := range []string{"new", "old"} {
		undone, err := Undo(root)
		fatal(t, err)
		if got := read(t, filepath.Join(root, "d")); got != want || read(t, filepath.Join(root, "e")) != "old" {
			t.Errorf("after undo: %s", got)
		}
		if _, err := os.Stat(filepath.Join(undone, "d")); err != nil {
			t.Error(err)
		}
	}
	if got := read(t, filepath.Join(root, "a/b/c")); got != "old" {
		t.Error(got)
	}
	if list, err := Formers(root); len(list) > 0 || err != nil {
		t.Error(list, err)
	}
}

// TestPlaceAll: everything is a path, too.
func TestPlaceAll(t *testing.T) {
	dir := t.TempDir()
	root := one(t, filepath.Join(dir, "core"), "old")
	_, err := Place(one(t, filepath.Join(dir, "staging"), "new"), root, []string{"memory", "."}, time.Now())
	fatal(t, err)
	if read(t, filepath.Join(root, "word")) != "new" || !slices.Equal(words(t, root), []string{"old"}) {
		t.Error("it is not all")
	}
}

// TestRestoreRefusesALinkedStaging: whoever puts a link there does not decide what is cleared.
func TestRestoreRefusesALinkedStaging(t *testing.T) {
	l, d, _ := sample(t)
	x, err := Read(t.Context(), l, d, nil)
	fatal(t, err)
	dir := t.TempDir()
	victim := one(t, filepath.Join(dir, "victim"), "precious")
	root := filepath.Join(dir, "core")
	fatal(t, os.Symlink(victim, x.Staging(root)))
	if _, err := x.Restore(t.Context(), l, x.Staging(root), RestoreOptions{}); err == nil {
		t.Error("it went through a link")
	}
	if read(t, filepath.Join(victim, "word")) != "precious" {
		t.Error("it cleared what the link leads to")
	}
}
