package fidelity

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agibake/agibake/internal/referee/llama"
)

// newState makes a small state with all that the levels look at.
func newState(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	if err := llama.State(root); err != nil {
		t.Fatal(err)
	}
	return root
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
