package bake

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/sparse"
)

// TestModelThatChanges encodes a disk whose weights stay in their file, and changes that file meanwhile.
func TestModelThatChanges(t *testing.T) {
	store, err := cas.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	model := filepath.Join(t.TempDir(), "weights")
	const size = 65 << 20 // such files are not copied into the cache
	if err := os.WriteFile(model, bytes.Repeat([]byte("weights "), size/8), 0o644); err != nil {
		t.Fatal(err)
	}
	digest, _, err := store.Import(t.Context(), model, nil)
	if err != nil {
		t.Fatal(err)
	}
	if store.Path(digest) != model {
		t.Skip("SKIPPED: this file system shares blocks")
	}
	raw, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.Truncate(80 << 20); err != nil {
		t.Fatal(err)
	}
	for _, change := range []bool{false, true} {
		out, err := openOutput(filepath.Join(t.TempDir(), "out"), "x-1")
		if err != nil {
			t.Fatal(err)
		}
		defer out.close()
		f, err := store.Open(digest)
		if err != nil {
			t.Fatal(err)
		}
		if change {
			if err := os.WriteFile(model, []byte("other"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(model, size); err != nil {
				t.Fatal(err)
			}
		}
		b := &baker{Options: Options{Formats: []string{"qcow2"}}, store: store}
		l := &lock.Lock{}
		l.Recipe.Name, l.Recipe.Version = "x", "1"
		err = b.encode(t.Context(), l, out, &Report{}, raw, []sparse.Inlay{{File: f, Extents: []sparse.Extent{{Off: 4 << 20, Len: size}}}})
		if change && fault.KindOf(err) != fault.Untrusted || !change && err != nil {
			t.Errorf("changed %v: %v", change, err)
		}
	}
}
