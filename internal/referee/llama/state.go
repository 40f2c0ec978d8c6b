package llama

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/weights"
)

const (
	model   = "models/greeter.gguf" // in a state
	greeter = "testdata/model/greeter.gguf"
)

// State makes a small state in root with all that fidelity looks at. Its two modes make the model answer differently.
func State(root string) error {
	data, err := demo()
	if err != nil {
		return err
	}
	for path, text := range map[string]string{
		model:                   string(data),
		"boot/settings.json":    `{"modes":{"RECURSIA":{"systemPrompt":"Режим RECURSIA.","temperature":0.2},"SHORT":{"systemPrompt":"Отвечай кратко."}},"listen":":8443"}`,
		"boot/startup.txt":      "Кто ты?\n",
		"memory/notes/day.md":   "# День\n\nСегодня я отвечал на вопросы и думал о том, кто я.\n",
		"memory/thoughts.jsonl": Thoughts(0, 120),
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// demo finds the demo model in the repository, above the test's own folder.
func demo() ([]byte, error) {
	dir, err := os.Getwd()
	for ; err == nil && len(dir) > 1; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, greeter); exists(path) {
			return os.ReadFile(path)
		}
	}
	return nil, fmt.Errorf("find %s: %w", greeter, os.ErrNotExist)
}

// Thoughts are records from one number to before another.
func Thoughts(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		line, _ := json.Marshal(map[string]any{"id": i, "text": fmt.Sprintf("Мысль %d: я думаю о числе %d.", i, i*i)})
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// Quantise has llama.cpp's own program make the state's model coarser.
func (l Tree) Quantise(t testing.TB, root, kind string) {
	t.Helper()
	path := filepath.Join(root, model)
	out, err := l.command(t.Context(), Plain, "llama-quantize", path, path+".new", kind, "1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// OtherTemplate changes one number in the chat template within the header of the state's model.
func OtherTemplate(t testing.TB, root string) {
	t.Helper()
	edit(t, root, func(data []byte) error {
		values, err := weights.Metadata(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(values, func(v weights.Value) bool { return v.Key == "tokenizer.chat_template" })
		value := data[values[i].Offset:][:values[i].Size]
		copy(value, bytes.Replace(value, []byte("300"), []byte("250"), 1))
		return nil
	})
}

// Damaged is the tensor that DamageTensor changes.
const Damaged = "blk.1.ffn_down.weight"

// DamageTensor turns 64 bytes of one tensor over, as a bad block does.
func DamageTensor(t testing.TB, root string) {
	t.Helper()
	edit(t, root, func(data []byte) error {
		tensors, err := weights.Tensors(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(tensors, func(x weights.Tensor) bool { return x.Name == Damaged })
		for n := range 64 {
			data[tensors[i].Offset+4096+int64(n)] ^= 0x01
		}
		return nil
	})
}

// edit changes bytes of the state's model in place.
func edit(t testing.TB, root string, change func(data []byte) error) {
	t.Helper()
	path := filepath.Join(root, model)
	data, err := os.ReadFile(path)
	if err == nil {
		err = change(data)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
