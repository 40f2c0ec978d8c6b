package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyCompleteFilesGetTheirName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("half")
	if data, _ := os.ReadFile(path); string(data) != "old" {
		t.Errorf("a half file has the final name: %q", data)
	}
	f.Abort()
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("Abort left %v", names)
	}
	if f, err = Create(path); err != nil {
		t.Fatal(err)
	}
	f.WriteString("new")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if data, _ := os.ReadFile(path); string(data) != "new" {
		t.Errorf("after Commit the file holds %q", data)
	}
	if _, err := Create(filepath.Join(dir, "none", "f")); err == nil {
		t.Error("Create works in a folder that is not there")
	}
}
