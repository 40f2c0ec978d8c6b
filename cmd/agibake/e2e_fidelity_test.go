package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/llama"
)

// TestE2EFidelity moves a mind by the command line, and then other minds in its place, between servers of the real
// llama.cpp.
func TestE2EFidelity(t *testing.T) {
	referee.E2E(t)
	l := llama.Need(t)
	_, _, core, _ := captured(t)
	store := "oci:" + filepath.Dir(core) + "/store"
	home := l.Serve(t, llama.Plain, core)
	code, out := inProcess(t, "fidelity", "record", "--server", home, "--root", core, "--snapshot", store)
	if code != 0 {
		t.Fatal(out)
	}
	t.Log(out)
	for _, c := range []struct {
		name   string
		change func(t *testing.T, root string)
		serve  bool // whether the change is one for the server, too
		reason string
	}{
		{"the same mind", func(*testing.T, string) {}, true, ""},
		{"another quantisation", func(t *testing.T, root string) { l.Quantise(t, root, "Q8_0") }, true, "another quantisation: "},
		{"an edited system prompt", func(t *testing.T, root string) {
			path := root + "/boot/settings.json"
			text := strings.Replace(readString(t, path), "Отвечай кратко.", "Отвечай коротко.", 1)
			fatal(t, os.WriteFile(path, []byte(text), 0o644))
		}, false, "the system prompt of mode SHORT was edited"},
		{"another template", func(t *testing.T, root string) { llama.OtherTemplate(t, root) }, true, "the chat template is another"},
		{"one damaged tensor", func(t *testing.T, root string) { llama.DamageTensor(t, root) }, true, "other weights: 1 of 21 tensors differ (" + llama.Damaged},
		{"a missing document", func(t *testing.T, root string) { fatal(t, os.Remove(root+"/memory/notes/day.md")) }, false, "memory/notes/day.md is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, server := t.TempDir()+"/core", home
			if code, out := inProcess(t, "state", "restore", store, "--to", root); code != 0 {
				t.Fatal(out)
			}
			if c.change(t, root); c.serve {
				server = l.Serve(t, llama.Plain, root)
			}
			page := t.TempDir() + "/verdict.html"
			code, out := inProcess(t, "fidelity", "check", "--server", server, "--root", root, "--snapshot", store, "--page", page)
			want, verdict := 5, "Not the same mind: "
			if c.reason == "" {
				want, verdict = 0, "The same mind, on all five levels."
			}
			if text := strings.Join(strings.Fields(out), " "); code != want || !strings.Contains(text, verdict) || !strings.Contains(text, c.reason) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, want, c.reason, out)
			}
			if !strings.Contains(readString(t, page), verdict) {
				t.Errorf("the page does not say %q", verdict)
			}
			if c.reason != "" {
				t.Logf("exit code %d: %s", code, out[strings.LastIndex(out, "agibake: "):])
			}
		})
	}
	traces := filepath.Dir(core) + "/traces.jsonl"
	fatal(t, os.WriteFile(traces, []byte(`{"messages":[{"role":"user","content":"Кто ты?"}],"settings":{"temperature":0,"n_predict":64},`+
		`"answer":"Я — маленькая модель agibake: я живу на этой машине и отвечаю без интернета."}`+"\n"), 0o644))
	if code, out := inProcess(t, "fidelity", "replay", traces, "--server", home); code != 0 || !strings.Contains(out, "1 exchange: 1 answered equally") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
