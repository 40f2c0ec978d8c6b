package fidelity

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee/llama"
)

// recorded is the baseline of a small state, made from what the real servers answered.
func recorded(t testing.TB) (*Baseline, Target) {
	t.Helper()
	url := replayServer(t, nil)
	target := Target{Server: url, Chroma: url, Root: newState(t), Hardware: "a processor"}
	b, err := Record(context.Background(), target, smallOptions)
	if err != nil {
		t.Fatal(err)
	}
	return b, target
}

func TestTheSameMind(t *testing.T) {
	b, target := recorded(t)
	if n := len(b.Bytes.Files); n != 1 || b.Bytes.Files[0].Template == "" || len(b.Bytes.Files[0].Tensors) != 21 {
		t.Errorf("%d files: %.300v", n, b.Bytes.Files)
	}
	if b.Greeting.Answers[0].Text != "Я — маленькая модель agibake: я живу на этой машине и отвечаю без интернета." || b.Greeting.Answers[0].Question != "Кто ты?" {
		t.Errorf("%+v", b.Greeting.Answers[0])
	}
	if len(b.Memory.Documents) != 2 || len(b.Memory.Collections) != 1 || len(b.Memory.Collections[0].Queries) != queries {
		t.Errorf("%.300v", b.Memory)
	}
	v, err := Check(t.Context(), target, b, Options{Frozen: true})
	if err != nil || !v.Same || !v.Complete || v.Err() != nil || len(v.Levels) != 5 {
		t.Fatalf("%v\n%s", err, text(t, v))
	}
	if f := v.Levels[3].Figures; f == nil || !f.Exact || f.Places != smallOptions.Prefixes {
		t.Errorf("%+v", f)
	}
}

// TestAnotherMind spoils one answer of the servers at a time.
func TestAnotherMind(t *testing.T) {
	b, target := recorded(t)
	on := func(part string, change func(map[string]any)) func(string, map[string]any) {
		return func(key string, answer map[string]any) {
			if strings.Contains(key, part) {
				change(answer)
			}
		}
	}
	set := func(key string, value any) func(map[string]any) { return func(m map[string]any) { m[key] = value } }
	for name, c := range map[string]struct {
		change         func(string, map[string]any)
		failed, reason string
	}{
		"template":      {on("/props", set("chat_template", "x")), "start", "the chat template is another"},
		"quantisation":  {on("/props", set("model_ftype", "Q8_0")), "start", `the weights are "Q8_0", was "all F32"`},
		"end token":     {on("/props", set("eos_token", "<e>")), "start", "the token that ends an answer"},
		"rendering":     {on("кратко. Answer", set("prompt", "x")), "start", "a dialogue is put to the model in other words"},
		"greeting":      {on(`Кто ты?\u003c|model|\u003e","return`, set("tokens", []int{763, 797, 5})), "greeting", "from token 3 on"},
		"health":        {on("/health", set("status", "error")), "start", "could not be examined"},
		"probabilities": {on(`"n_probs"`, set("completion_probabilities", []any{})), "style", "tells no probabilities"},
		"distances":     {on("/query ", set("distances", [][]float64{{0, 1, 1, 1, 1, 1, 1, 1, 1, 1}})), "memory", "8 of 8 queries find something else"},
		"collections":   {on("/get ", set("ids", []string{})), "memory", "could not be examined"},
		"less context": {on("/props", func(m map[string]any) {
			m["default_generation_settings"].(map[string]any)["n_ctx"] = 512
		}), "start", "it remembers 512 tokens of a dialogue, was 2048"},
		"sampling": {on("/props", func(m map[string]any) {
			m["default_generation_settings"].(map[string]any)["params"].(map[string]any)["repeat_penalty"] = 1.5
		}), "start", "the server's default for repeat_penalty is 1.5, was 1"},
		"style": {on(`"n_probs"`, func(m map[string]any) {
			first := m["completion_probabilities"].([]any)[0].(map[string]any)["top_logprobs"].([]any)[0].(map[string]any)
			first["logprob"] = first["logprob"].(float64) - 1e-6
		}), "style", "the probabilities must be equal at all 24 places"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := replayServer(t, c.change)
			target := target
			target.Server, target.Chroma = url, url
			v, err := Check(t.Context(), target, b, Options{Patience: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range v.Levels {
				if (l.Status == Fail) != (l.Name == c.failed) {
					t.Errorf("%s: %s %v", l.Name, l.Status, l.Reasons)
				}
			}
			if err := v.Err(); fault.KindOf(err) != fault.CheckFailed || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v, without %q", err, c.reason)
			}
		})
	}
}

// TestNotAsked: what was not asked is said, and alone it proves nothing.
func TestNotAsked(t *testing.T) {
	b, target := recorded(t)
	for _, c := range []struct {
		target Target
		asked  string
	}{
		{Target{Root: target.Root}, "bytes memory"},
		{Target{Server: target.Server}, "start greeting style"},
		{Target{Chroma: target.Chroma}, "memory"},
	} {
		v, err := Check(t.Context(), c.target, b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, l := range v.Levels {
			if l.Status != NotAsked {
				asked = append(asked, l.Name)
			}
		}
		if got := strings.Join(asked, " "); got != c.asked || !v.Same || v.Complete || !strings.Contains(v.Summary, "Not asked: ") {
			t.Errorf("asked %q, not %q: %s", got, c.asked, v.Summary)
		}
	}
	b.Bytes, b.Start, b.Greeting, b.Style, b.Memory = nil, nil, nil, nil, nil
	if v, err := Check(t.Context(), target, b, Options{}); err != nil || v.Same || v.Err() == nil {
		t.Errorf("an empty baseline proves something: %v", err)
	}
	if _, err := Record(t.Context(), Target{}, Options{}); fault.KindOf(err) != fault.Usage {
		t.Error(err)
	}
}

// TestAnUnsteadySourceIsRefused: a baseline of a server that answers now this, now that would be worth nothing.
func TestAnUnsteadySourceIsRefused(t *testing.T) {
	n := 0
	url := replayServer(t, func(key string, answer map[string]any) {
		if strings.HasPrefix(key, "POST /completion") {
			n++
			answer["tokens"] = []int{n}
		}
	})
	_, err := Record(t.Context(), Target{Server: url, Root: newState(t)}, smallOptions)
	if fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "--parallel 1") {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	b, target := recorded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := Check(ctx, target, b, Options{}); !errors.Is(err, context.Canceled) || v != nil {
		t.Errorf("%v, %v", v, err)
	}
}

// TestStateThatMoved edits the state beside the same server.
func TestStateThatMoved(t *testing.T) {
	b, target := recorded(t)
	for name, c := range map[string]struct {
		change         func(root string)
		failed, reason string
	}{
		"a link out of the state": {func(root string) {
			if err := os.Symlink("/etc/passwd", root+"/models/greeter.json"); err != nil {
				t.Fatal(err)
			}
		}, "bytes", "could not be examined"},
		"one bit of a tensor": {func(root string) {
			data := []byte(read(t, root+"/models/greeter.gguf"))
			data[len(data)-100] ^= 1
			write(t, root+"/models/greeter.gguf", string(data))
		}, "bytes", "other weights: 1 of 21 tensors differ"},
		"a model that is none":   {func(root string) { write(t, root+"/models/greeter.gguf", "short") }, "bytes", "no model file that can be read"},
		"another name":           {func(root string) { os.Rename(root+"/models/greeter.gguf", root+"/models/g.gguf") }, "", "models/greeter.gguf is now called models/g.gguf"},
		"another greeting":       {func(root string) { write(t, root+"/boot/startup.txt", "Ты кто?") }, "start", `the greeting asks "Ты кто?", was "Кто ты?"`},
		"another temperature":    {func(root string) { retouch(t, root, `"temperature":0.2`, `"temperature":0.3`) }, "start", "the settings of mode RECURSIA differ"},
		"an unrelated setting":   {func(root string) { retouch(t, root, `":8443"`, `":9443"`) }, "", "healthy"},
		"broken settings":        {func(root string) { write(t, root+"/boot/settings.json", "{") }, "start", "could not be examined: read boot/settings.json"},
		"a grown memory":         {func(root string) { write(t, root+"/memory/thoughts.jsonl", llama.Thoughts(0, 123)) }, "", "has grown by 3 records"},
		"a torn line at the end": {func(root string) { write(t, root+"/memory/thoughts.jsonl", llama.Thoughts(0, 120)+`{"id":12`) }, "", "all there and unchanged"},
		"an edited note":         {func(root string) { write(t, root+"/memory/notes/day.md", "nothing") }, "memory", "memory/notes/day.md was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			target := target
			target.Root = t.TempDir()
			if err := os.CopyFS(target.Root, os.DirFS(newState(t))); err != nil {
				t.Fatal(err)
			}
			c.change(target.Root)
			v, err := Check(t.Context(), target, b, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range v.Levels {
				if (l.Status == Fail) != (l.Name == c.failed) {
					t.Errorf("%s: %s %v", l.Name, l.Status, l.Reasons)
				}
			}
			if out := strings.Join(strings.Fields(text(t, v)), " "); !strings.Contains(out, c.reason) {
				t.Errorf("no word of %q:\n%s", c.reason, out)
			}
		})
	}
}

func retouch(t *testing.T, root, old, text string) {
	t.Helper()
	write(t, root+"/boot/settings.json", strings.Replace(read(t, root+"/boot/settings.json"), old, text, 1))
}
