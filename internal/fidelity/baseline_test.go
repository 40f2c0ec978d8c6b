package fidelity

import (
	"bytes"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
)

func TestBaselineHasOneForm(t *testing.T) {
	b, _ := recorded(t)
	data, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeBaseline(data)
	if err != nil {
		t.Fatal(err)
	}
	if data2, err := again.Encode(); err != nil || !bytes.Equal(data, data2) {
		t.Errorf("encoded again it differs: %v", err)
	}
	if !reflect.DeepEqual(b.Style, again.Style) || !reflect.DeepEqual(b.Start, again.Start) {
		t.Error("decoded it differs")
	}
	text := string(data)
	for name, bad := range map[string]string{
		"empty":              "",
		"not JSON":           "{",
		"a list":             "[]\n",
		"cut":                text[:len(text)/2],
		"more behind":        text + "{}\n",
		"no newline":         strings.TrimSpace(text),
		"a space":            strings.Replace(text, `"schema":`, `"schema": `, 1),
		"an unknown key":     strings.Replace(text, `{"schema":`, `{"more":1,"schema":`, 1),
		"a key twice":        strings.Replace(text, `{"schema":`, `{"schema":"x","schema":`, 1),
		"a key in capitals":  strings.Replace(text, `{"schema":`, `{"Schema":`, 1),
		"another schema":     strings.Replace(text, schema, "agibake.fidelity/v2", 1),
		"a way out":          strings.ReplaceAll(text, `"models/greeter.gguf"`, `"../greeter.gguf"`),
		"an absolute path":   strings.ReplaceAll(text, `"models/greeter.gguf"`, `"/etc/passwd"`),
		"a hash that is not": strings.Replace(text, `"sha256":"`, `"sha256":"x`, 1),
		"a negative token":   strings.Replace(text, `"tokens":[`, `"tokens":[-1,`, 1),
		"too large":          text[:len(text)-2] + strings.Repeat(" ", maxBaseline) + "}\n",
		"a bomb of objects":  `{"schema":"` + schema + `","bytes":{"files":[` + strings.Repeat("{},", maxObjects) + "{}]}}\n",
		"a bomb of numbers":  `{"schema":"` + schema + `","style":{"passages":[{"tokens":[` + strings.Repeat("1,", maxItems) + "1]}]}}\n",
	} {
		if b, err := DecodeBaseline([]byte(bad)); err == nil || b != nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostileBaselines spoils one value at a time in a way that the form does not show.
func TestHostileBaselines(t *testing.T) {
	for name, spoil := range map[string]func(*Baseline){
		"files out of order":  func(b *Baseline) { b.Bytes.Files = append(b.Bytes.Files, b.Bytes.Files[0]) },
		"a negative size":     func(b *Baseline) { b.Bytes.Files[0].Size = -1 },
		"a cut outside":       func(b *Baseline) { b.Style.Passages[0].Cuts[0] = len(b.Style.Passages[0].Tokens) + 1 },
		"a cut at the start":  func(b *Baseline) { b.Style.Passages[0].Cuts[0] = 0 },
		"fewer choices":       func(b *Baseline) { b.Style.Passages[0].Next = b.Style.Passages[0].Next[1:] },
		"no choice":           func(b *Baseline) { b.Style.Passages[0].Next[0] = nil },
		"too probable":        func(b *Baseline) { b.Style.Passages[0].Next[0] = choices(1, .9, 2, .8) },
		"a token twice":       func(b *Baseline) { b.Style.Passages[0].Next[0] = choices(1, .5, 1, .4) },
		"no number":           func(b *Baseline) { b.Style.Floor.KL = math.NaN() },
		"a generous floor":    func(b *Baseline) { b.Style.Floor.KL = math.Inf(1) },
		"no places":           func(b *Baseline) { b.Style.Passages = nil },
		"answers without end": func(b *Baseline) { b.Greeting.Limit = 1 << 30 },
		"a long text":         func(b *Baseline) { b.Greeting.Answers[0].Text = strings.Repeat("x", maxText+1) },
		"half a mark":         func(b *Baseline) { b.Memory.Documents[1].Records.Marks = []byte("123") },
		"records and a hash":  func(b *Baseline) { b.Memory.Documents[1].SHA256 = sum(nil) },
		"many hits": func(b *Baseline) {
			q := &b.Memory.Collections[0].Queries[0]
			q.Hits = append(q.Hits, q.Hits...)
		},
	} {
		b, _ := recorded(t)
		spoil(b)
		if _, err := b.Encode(); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeBaseline(f *testing.F) {
	whole, _ := recorded(f)
	whole.Bytes.Files[0].Tensors = whole.Bytes.Files[0].Tensors[:1] // small seeds
	whole.Start.Sampling = nil
	whole.Greeting.Answers, whole.Style.Passages = whole.Greeting.Answers[:1], whole.Style.Passages[:1]
	whole.Style.Passages[0].Cuts, whole.Style.Passages[0].Next = whole.Style.Passages[0].Cuts[:1], whole.Style.Passages[0].Next[:1]
	whole.Memory.Documents, whole.Memory.Collections[0].Queries = whole.Memory.Documents[:1], whole.Memory.Collections[0].Queries[:1]
	whole.Memory.Collections[0].Records.Marks = nil
	server, vectors, files := *whole, *whole, *whole
	server.Bytes, server.Memory = nil, nil
	vectors.Bytes, vectors.Start, vectors.Greeting, vectors.Style = nil, nil, nil, nil
	vectors.Memory = &Memory{Collections: whole.Memory.Collections}
	files.Start, files.Greeting, files.Style, files.Memory = nil, nil, nil, &Memory{Documents: whole.Memory.Documents}
	for _, b := range []*Baseline{&server, &vectors, &files} {
		data, err := b.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	state, err := os.MkdirTemp("", "fidelity")
	if err != nil {
		f.Fatal(err)
	}
	defer os.RemoveAll(state)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBaseline(data)
		if err != nil {
			if b != nil {
				t.Fatal("both a result and an error")
			}
			return
		}
		again, err := b.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encodes to something else: %v", err)
		}
		if _, err := Check(t.Context(), Target{Root: state}, b, Options{}); err != nil {
			t.Fatal(err)
		}
	})
}
