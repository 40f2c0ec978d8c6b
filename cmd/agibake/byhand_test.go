package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agibake/agibake/internal/referee"
)

// TestRestoreByHand runs the script of docs/ that needs no agibake, on a state with every kind of entry.
func TestRestoreByHand(t *testing.T) {
	referee.Need(t, "oras", "zstd", "age", "age-keygen", "tar")
	docs, err := filepath.Abs("../../docs")
	fatal(t, err)
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/by-hand.txtar"},
		Cmds:  commands,
		Setup: func(e *testscript.Env) error {
			e.Setenv("DOCS", docs)
			e.Setenv("PATH", filepath.Dir(referee.Path(t, "oras"))+":"+e.Getenv("PATH"))
			if err := home(e); err != nil {
				return err
			}
			return allKinds(filepath.Join(e.WorkDir, "core"))
		},
	})
}

// allKinds makes a state with whatever a tree can hold.
func allKinds(dir string) error {
	model, err := os.ReadFile("../../testdata/model/greeter.gguf")
	for name, text := range map[string]string{
		"models/greeter.gguf": string(model), "boot/settings.json": "{}", "boot/empty": "", "memory/ two  spaces ": "x",
		"memory/back\\slash\nline\tтаб": "y", "memory/-dash": "z", "logs/bad\xff.jsonl": "{}\n", "logs/%s$x": "w",
	} {
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640)
		}
	}
	if err == nil {
		err = os.Symlink("greeter.gguf", filepath.Join(dir, "models/the current one"))
	}
	if err == nil {
		err = os.Chmod(filepath.Join(dir, "logs"), 0o555)
	}
	return err
}
