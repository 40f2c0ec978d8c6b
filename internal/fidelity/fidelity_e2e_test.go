package fidelity

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/llama"
)

// control is a move after which the mind must be found the same, or not.
type control struct {
	name    string
	change  func(t *testing.T, l llama.Tree, root string)
	serve   bool   // whether the change is one for the server, too
	backend string // of the server, where it is another one
	failed  string // levels that fail, in order
	blind   string // levels that fail where only the server can be asked; "-" is not tried
	reason  string // part of one
}

var controls = []control{
	{name: "a faithful copy", change: func(*testing.T, llama.Tree, string) {}, serve: true, blind: ""},
	{name: "other hardware", change: func(*testing.T, llama.Tree, string) {}, backend: llama.AVX2, blind: ""},
	{name: "another quantisation, Q8_0", change: quantise("Q8_0"), serve: true, failed: "bytes start style", blind: "start style", reason: "another quantisation"},
	{name: "another quantisation, Q4_0", change: quantise("Q4_0"), serve: true, failed: "bytes start style", blind: "start style", reason: "another quantisation"},
	{name: "another quantisation on other hardware", change: quantise("Q4_0"), backend: llama.AVX2, failed: "bytes start style", blind: "start style", reason: "it thinks differently"},
	{name: "another template", change: otherTemplate, serve: true, failed: "bytes start", blind: "start", reason: "the chat template"},
	{name: "one damaged tensor", change: damageTensor, serve: true, failed: "bytes style", blind: "style", reason: llama.Damaged},
	{name: "an edited system prompt", change: func(t *testing.T, _ llama.Tree, root string) {
		replace(t, root+"/boot/settings.json", "Отвечай кратко.", "Отвечай коротко.")
	}, failed: "start", blind: "-", reason: "the system prompt of mode SHORT was edited"},
	{name: "a mode that is gone", change: func(t *testing.T, _ llama.Tree, root string) {
		write(t, root+"/boot/settings.json", `{"modes":{"SHORT":{"systemPrompt":"Отвечай кратко."}}}`)
	}, failed: "start", blind: "-", reason: "mode RECURSIA is missing"},
	{name: "a missing document", change: func(t *testing.T, _ llama.Tree, root string) {
		remove(t, root+"/memory/notes/day.md")
	}, failed: "memory", blind: "-", reason: "memory/notes/day.md is missing"},
	{name: "a missing record", change: func(t *testing.T, _ llama.Tree, root string) {
		write(t, root+"/memory/thoughts.jsonl", llama.Thoughts(0, 17)+llama.Thoughts(18, 120))
	}, failed: "memory", blind: "-", reason: "1 of 120 records are missing"},
	{name: "an edited record", change: func(t *testing.T, _ llama.Tree, root string) {
		replace(t, root+"/memory/thoughts.jsonl", "о числе 289", "о числе 290")
	}, failed: "memory", blind: "-", reason: "missing or changed"},
	{name: "no model files", change: func(t *testing.T, _ llama.Tree, root string) {
		remove(t, root+"/models/greeter.gguf")
	}, failed: "bytes", blind: "-", reason: "models/greeter.gguf is missing"},
}

// TestE2EControls moves a mind in many ways between servers of the real llama.cpp.
func TestE2EControls(t *testing.T) {
	referee.E2E(t)
	l := llama.Need(t)
	root := newState(t)
	server := l.Serve(t, llama.Plain, root)
	begin := time.Now()
	b, err := Record(t.Context(), Target{Server: server, Root: root, Hardware: "this machine"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded in %s: %d bytes, floor %+v, %d passages", time.Since(begin).Round(time.Millisecond), len(data), b.Style.Floor, len(b.Style.Passages))
	if !b.Style.Floor.Exact {
		t.Errorf("one server with one slot is not exact: %+v", b.Style.Floor)
	}
	for _, c := range controls {
		t.Run(c.name, func(t *testing.T) { c.run(t, l, root, server, b) })
	}
	t.Run("replay", func(t *testing.T) { replayed(t, server, b) })
}

// replayed runs the baseline's own answers again as traces, then one whose answer is a lie.
func replayed(t *testing.T, server string, b *Baseline) {
	var traces strings.Builder
	for i, a := range b.Greeting.Answers {
		settings := `{"temperature":0,"n_predict":64}`
		if i%2 == 1 { // the seed does not matter at temperature 0, but is passed on
			settings = `{"temperature":0,"seed":7,"top_k":40,"n_predict":64,"stop":["<|user|>"]}`
		}
		line, _ := json.Marshal(map[string]any{"id": fmt.Sprint(i), "mode": a.Mode, "messages": dialogue(a.System, a.Question),
			"settings": json.RawMessage(settings), "answer": a.Text, "tokens": a.Tokens})
		fmt.Fprintf(&traces, "%s\n", line)
	}
	traces.WriteString(`{"messages":[{"role":"user","content":"Кто ты?"}],"settings":{"n_predict":64},"answer":"x"}` + "\n")
	r, err := Replay(t.Context(), Target{Server: server}, strings.NewReader(traces.String()), Options{})
	if err != nil || r.Equal != len(b.Greeting.Answers) || r.Differ != 0 || r.NotAsked != 1 || r.Err() != nil {
		t.Errorf("%+v, %v", r, err)
	}
	traces.WriteString(`{"prompt":"<|user|>Кто ты?<|model|>","settings":{"temperature":0,"n_predict":64},"answer":"Я — никто."}` + "\n")
	r, err = Replay(t.Context(), Target{Server: server}, strings.NewReader(traces.String()), Options{})
	if err != nil || r.Differ != 1 || fault.KindOf(r.Err()) != fault.CheckFailed {
		t.Errorf("%+v, %v", r, err)
	}
}

func (c control) run(t *testing.T, l llama.Tree, source, server string, b *Baseline) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	c.change(t, l, root)
	target := Target{Server: server, Root: root, Hardware: "this machine"}
	switch {
	case c.backend != "":
		if !strings.Contains(read(t, "/proc/cpuinfo"), "avx2") {
			t.Skip("SKIPPED: this processor has no other backend")
		}
		target.Server, target.Hardware = l.Serve(t, c.backend, root), "another one"
	case c.serve:
		target.Server = l.Serve(t, llama.Plain, root)
	}
	v := c.check(t, target, b, c.failed)
	if text := text(t, v); !strings.Contains(strings.Join(strings.Fields(text), " "), c.reason) {
		t.Errorf("no word of %q:\n%s", c.reason, text)
	}
	if !v.Complete {
		t.Errorf("not complete: %+v", v)
	}
	if c.blind != "-" {
		target.Root = ""
		if v := c.check(t, target, b, c.blind); v.Complete {
			t.Error("complete without the state")
		}
	}
	if c.backend != "" && c.failed == "" {
		target.Hardware = "this machine" // then every digit counts
		if v, err := Check(t.Context(), target, b, Options{}); err != nil || v.Same {
			t.Errorf("other kernels count as exact: %v, %+v", err, v)
		}
	}
}

func (c control) check(t *testing.T, target Target, b *Baseline, want string) *Verdict {
	t.Helper()
	v, err := Check(t.Context(), target, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, l := range v.Levels {
		if l.Status == Fail {
			failed = append(failed, l.Name)
		}
		if l.Figures != nil {
			t.Logf("%s (%.1f s): %+v", v.Summary, v.Seconds, *l.Figures)
		}
	}
	if got := strings.Join(failed, " "); got != want || v.Same != (want == "") || (v.Err() == nil) != v.Same {
		t.Errorf("failed %q, not %q\n%s", got, want, text(t, v))
	}
	return v
}

func replace(t *testing.T, path, old, text string) {
	t.Helper()
	data := read(t, path)
	if strings.Count(data, old) != 1 {
		t.Fatalf("%s: %q is there %d times", path, old, strings.Count(data, old))
	}
	write(t, path, strings.Replace(data, old, text, 1))
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// quantise has llama.cpp's own program make a coarser model.
func quantise(kind string) func(*testing.T, llama.Tree, string) {
	return func(t *testing.T, l llama.Tree, root string) { l.Quantise(t, root, kind) }
}

func otherTemplate(t *testing.T, _ llama.Tree, root string) { llama.OtherTemplate(t, root) }

func damageTensor(t *testing.T, _ llama.Tree, root string) { llama.DamageTensor(t, root) }
