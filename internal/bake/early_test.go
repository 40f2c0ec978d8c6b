package bake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

// TestEarlyOnlyForNewModels builds nothing beforehand where no digest is to be waited for.
func TestEarlyOnlyForNewModels(t *testing.T) {
	store, err := cas.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir := t.TempDir()
	b := &baker{Options: Options{Recipe: dir + "/r.yaml"}, store: store}
	model := dir + "/m.gguf"
	for name, size := range map[string]int64{model: 64 << 20, dir + "/small": 1} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
	}
	unread := func(source string) bool {
		return b.unread(&recipe.Recipe{Models: []recipe.Model{{Source: source}}})
	}
	for source, want := range map[string]bool{"file:" + model: true, "file://" + model: true, "file:m.gguf": true,
		"file:small": false, "file:none": false, "https://example.org/m.gguf": false} {
		if unread(source) != want {
			t.Errorf("%s: %v", source, !want)
		}
	}
	if _, _, err := store.Import(t.Context(), model, nil); err != nil {
		t.Fatal(err)
	}
	if unread("file:" + model) {
		t.Error("the digest is known, and yet waited for")
	}
	if err := os.WriteFile(model, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(model, 64<<20); err != nil {
		t.Fatal(err)
	}
	if !unread("file:" + model) {
		t.Error("the file changed")
	}
}

// TestForesees takes a lock's word only for what the recipe still wants and the cache holds.
func TestForesees(t *testing.T) {
	store, err := cas.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	digest, size, err := store.Put(t.Context(), strings.NewReader("package"), "", -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &baker{store: store}
	good := func() (*lock.Lock, *recipe.Recipe) {
		l, r := &lock.Lock{}, &recipe.Recipe{}
		l.System.Packages = []lock.Package{{Name: "a", SHA256: digest, Size: size}}
		image := recipe.Container{Name: "c", Image: recipe.Image{Registry: "example.org/c"}}
		l.Containers, l.Recipe.Containers = []lock.Container{{Name: "c"}}, []recipe.Container{image}
		r.Containers = []recipe.Container{image}
		return l, r
	}
	for name, change := range map[string]func(*lock.Lock, *recipe.Recipe){
		"":                func(*lock.Lock, *recipe.Recipe) {},
		"another package": func(_ *lock.Lock, r *recipe.Recipe) { r.Base.Packages = []string{"b"} },
		"missing package": func(l *lock.Lock, _ *recipe.Recipe) { l.System.Packages[0].Size++ },
		"another image":   func(_ *lock.Lock, r *recipe.Recipe) { r.Containers[0].Image.Registry += "d" },
		"container more":  func(_ *lock.Lock, r *recipe.Recipe) { r.Containers = append(r.Containers, r.Containers[0]) },
		"its package missing": func(l *lock.Lock, _ *recipe.Recipe) {
			l.Containers[0].Packages = &lock.Packages{Packages: []lock.Package{{Name: "x"}}}
		},
	} {
		l, r := good()
		change(l, r)
		if b.foresees(l, r) != (name == "") {
			t.Errorf("%q: %v", name, name != "")
		}
	}
}
