package referee

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake records how a test ended.
type fake struct {
	testing.TB
	ended string
}

func (f *fake) Helper()                        {}
func (f *fake) Fatalf(format string, _ ...any) { f.ended = "failed" }
func (f *fake) Skipf(format string, _ ...any)  { f.ended = "skipped" }

func TestNeed(t *testing.T) {
	for require, want := range map[string]string{"": "skipped", "1": "failed"} {
		t.Setenv("AGIBAKE_REQUIRE_TOOLS", require)
		f := &fake{TB: t}
		if Need(f, "sh"); f.ended != "" {
			t.Errorf("sh is missing: %s", f.ended)
		}
		if Need(f, "sh", "no-such-tool"); f.ended != want {
			t.Errorf("AGIBAKE_REQUIRE_TOOLS=%q: %q, want %q", require, f.ended, want)
		}
	}
}

func TestRun(t *testing.T) {
	if out := Run(t, "sh", "-c", "echo $TZ; echo two >&2"); out != "UTC\ntwo\n" {
		t.Errorf("printed %q", out)
	}
	f := &fake{TB: t}
	if out := Run(f, "sh", "-c", "echo why; exit 3"); f.ended != "failed" || !strings.Contains(out, "why") {
		t.Errorf("%q, %q", f.ended, out)
	}
}

func TestBuiltRefereesAreFound(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "internal", "a")
	for _, dir := range []string{deep, filepath.Join(root, "bin/referees")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/referees/own-referee"), []byte("#!/bin/sh\necho built\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	if out := Run(t, "own-referee"); out != "built\n" {
		t.Errorf("printed %q", out)
	}
}
