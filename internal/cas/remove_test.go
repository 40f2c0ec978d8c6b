package cas

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRemoveIsAsked leaves folders of killed runs: the next stage and prune remove them by the caller's way.
func TestRemoveIsAsked(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var asked []string
	s.Remove = func(path string) error {
		asked = append(asked, filepath.Base(path))
		return os.RemoveAll(path)
	}
	for _, left := range []string{"same.partial-1", "other.partial-1"} {
		if err := os.MkdirAll(filepath.Join(s.Dir(), "stages", "rootfs", left, "work"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutStage(t.Context(), "rootfs", "same", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(asked); strings.Join(asked, " ") != "other.partial-1 same.partial-1" {
		t.Errorf("a new stage removed %q", asked)
	}
	if err := os.Mkdir(filepath.Join(s.Dir(), "stages", "rootfs", "late.partial-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(PruneOptions{}); err != nil || !slices.Contains(asked, "late.partial-1") {
		t.Errorf("prune: %v; asked to remove %q", err, asked)
	}
}
