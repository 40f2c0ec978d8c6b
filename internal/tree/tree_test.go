package tree

import (
	"errors"
	"slices"
	"testing"
)

func TestEntriesPutParentsBeforeChildren(t *testing.T) {
	tr := New()
	for _, name := range []string{"a.b", "a/z", "a-b/c", ".hidden", "a/b/c"} {
		if err := tr.WriteFile(name, []byte(name), 0o644, 1); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range tr.Entries() {
		got = append(got, e.Path)
	}
	want := []string{".", ".hidden", "a", "a/b", "a/b/c", "a/z", "a-b", "a-b/c", "a.b"}
	if !slices.Equal(got, want) {
		t.Errorf("order is %q, want %q", got, want)
	}
}

func TestPutRefusesPathsOutside(t *testing.T) {
	for _, name := range []string{"", "/etc", "../x", "a/../b", "a//b", "a/"} {
		if err := New().Put(Entry{Path: name}); err == nil {
			t.Errorf("Put(%q) succeeded", name)
		}
	}
}

func TestResolveStaysInside(t *testing.T) {
	tr := New()
	for link, target := range map[string]string{"bin": "usr/bin", "up": "../../etc", "abs": "/usr", "loop": "loop"} {
		if err := tr.Symlink(target, link, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.WriteFile("usr/bin/sh", []byte("sh"), 0o755, 0); err != nil {
		t.Fatal(err)
	}
	if err := tr.WriteFile("etc/passwd", []byte("root"), 0o644, 0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bin/sh": "usr/bin/sh", "/abs/bin/sh": "usr/bin/sh", "up/passwd": "etc/passwd", ".": "."} {
		if got, err := tr.Resolve(name); err != nil || got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := tr.Resolve("loop"); err == nil {
		t.Error("a loop of links was resolved")
	}
	if _, err := tr.Resolve("bin/none"); !errors.Is(err, ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	if data, err := tr.ReadFile("bin/sh"); err != nil || string(data) != "sh" {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
}

func TestOverlayReplacesAndRemoves(t *testing.T) {
	lower, upper := New(), New()
	lower.WriteFile("d/f", []byte("old"), 0o644, 0)
	upper.WriteFile("d", []byte("file now"), 0o644, 0)
	kept := lower.Clone()
	if err := lower.Overlay(upper); err != nil {
		t.Fatal(err)
	}
	if lower.Lookup("d/f") != nil || lower.Lookup("d").Type != File {
		t.Error("the folder that became a file kept its content")
	}
	if kept.Lookup("d/f") == nil {
		t.Error("a clone changed with its original")
	}
}
