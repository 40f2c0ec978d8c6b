package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
)

func TestInitWritesWhatParses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's new")
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	if err := a.init(dir); err != nil {
		t.Fatal(err)
	}
	want := "next: agibake bake '" + strings.ReplaceAll(dir, "'", `'\''`) + "/appliance.yaml' --set MODEL=file:/path/to/model.gguf\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("%s lacks %s", out.String(), want)
	}
	model := filepath.Join(dir, "m.gguf")
	if err := os.WriteFile(model, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "appliance.yaml")
	if _, err := recipe.Parse(path, recipe.Options{Set: map[string]string{"MODEL": "file:" + model}}); err != nil {
		t.Error(err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "appliance.yaml")
	if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := (&app{stdout: &bytes.Buffer{}}).init(dir)
	if fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" || err.Error() != "init: "+mine+" exists already" {
		t.Errorf("%v (hint %q)", err, fault.HintOf(err))
	}
	entries, _ := os.ReadDir(dir)
	if text, _ := os.ReadFile(mine); string(text) != "mine" || len(entries) != 1 {
		t.Errorf("%q beside %d files", text, len(entries))
	}
}
