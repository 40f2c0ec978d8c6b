package model

import (
	"encoding/json"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/mode"
	"github.com/google/go-cmp/cmp"
)

func TestTransform(t *testing.T) {
	m := mode.Mode{Name: "A", SystemPrompt: "P", Tools: []string{"clock"}, Sampling: mode.Sampling{
		Temperature: new(0.2), TopK: new(40), Seed: new(uint32(5)), MaxTokens: new(50), Stop: []string{"x"}}}
	const user = `{"role":"user","content":"u"}`
	const sampled = `"temperature":0.2,"top_k":40,"seed":5,"stop":["x"],"max_tokens":50`
	prompted := `"messages":[{"role":"system","content":"P"},` + user + `]`
	for body, want := range map[string]string{
		`{"messages":[` + user + `]}`: `{` + prompted + `,` + sampled + `}`,
		`{"messages":[{"role":"system","content":"s"},` + user + `],"x":{"y":1.50}}`:                   `{"messages":[{"role":"system","content":"P\n\ns"},` + user + `],"x":{"y":1.50},` + sampled + `}`,
		`{"messages":[{"role":"developer","content":[{"type":"text","text":"s"}]},` + user + `]}`:      `{"messages":[{"role":"system","content":[{"type":"text","text":"P\n\n"},{"type":"text","text":"s"}]},` + user + `],` + sampled + `}`,
		`{"messages":[` + user + `],"temperature":1,"top_k":null,"seed":6,"stop":"y","max_tokens":60}`: `{` + prompted + `,"temperature":1,"top_k":40,"seed":6,"stop":["y","x"],"max_tokens":50}`,
		`{"messages":[` + user + `],"stop":["x"],"max_completion_tokens":7}`:                           `{` + prompted + `,"temperature":0.2,"top_k":40,"seed":5,"stop":["x"],"max_completion_tokens":7}`,
		`{"messages":[` + user + `],"n_predict":-1}`:                                                   `{` + prompted + `,"temperature":0.2,"top_k":40,"seed":5,"stop":["x"],"n_predict":50}`,
		`{"messages":[` + user + `],"tools":[{"type":"function","function":{"name":"clock"}},{"type":"function","function":{"name":"shell"}}],"tool_choice":"auto"}`: `{` +
			prompted + `,` + sampled + `,"tools":[{"type":"function","function":{"name":"clock"}}],"tool_choice":"auto"}`,
		`{"messages":[` + user + `],"tools":[{"function":{"name":"shell"}}],"tool_choice":"required"}`: `{` + prompted + `,` + sampled + `}`,
	} {
		got, err := Transform(m, 100)([]byte(body))
		var is, was any
		json.Unmarshal(got, &is)
		json.Unmarshal([]byte(want), &was)
		if d := cmp.Diff(was, is); d != "" || err != nil {
			t.Errorf("%s\n%v\n%s", body, err, d)
		}
	}
}

func TestTransformWithoutAMode(t *testing.T) {
	got, err := Transform(mode.Mode{}, 100)([]byte(`{"messages":[{"role":"user","content":"u"}],"tools":[1],"big":12345678901234567890}`))
	var f map[string]json.RawMessage
	json.Unmarshal(got, &f)
	if err != nil || string(f["max_tokens"]) != "100" || f["seed"] == nil || string(f["tools"]) != "[1]" || string(f["big"]) != "12345678901234567890" || len(f) != 5 {
		t.Errorf("%s %v", got, err)
	}
	for _, seed := range []string{"-1", "4294967295"} {
		got, err := Transform(mode.Mode{}, 100)([]byte(`{"messages":[{}],"seed":` + seed + `}`))
		var said struct{ Seed uint32 }
		if e := json.Unmarshal(got, &said); e != nil || err != nil || said.Seed > mode.MaxSeed {
			t.Errorf("seed %s: %s %v", seed, got, err)
		}
	}
	got, err = Transform(mode.Mode{}, 100)([]byte(`{"messages":[{}],"max_tokens":5000}`))
	if json.Unmarshal(got, &f); err != nil || string(f["max_tokens"]) != "5000" {
		t.Errorf("%s %v", got, err)
	}
}

func TestTransformRefuses(t *testing.T) {
	m := mode.Mode{Name: "A", SystemPrompt: "P", Tools: []string{}}
	for _, body := range []string{"", "null", "[]", `{"messages":[]}`, `{"messages":5}`, `{"messages":[5]}`, `{"messages":[{"role":"system","content":5}]}`,
		`{"messages":[{}],"stop":5}`, `{"messages":[{}],"tools":5}`, `{"messages":[{}],"tools":[5]}`, `{"messages":[{}],"max_tokens":"x"}`,
		`{"messages":[{}],"tool_choice":{"type":"function","function":{"name":"shell"}}}`} {
		if got, err := Transform(m, 100)([]byte(body)); got != nil || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %s, %v", body, got, err)
		}
	}
}

func FuzzTransform(f *testing.F) {
	for _, s := range []string{asks, asksLive, `{"messages":[{"role":"system","content":[]}],"tools":[{"function":{"name":"a"}}],"stop":"x","n_predict":-1,"tool_choice":{}}`} {
		f.Add([]byte(s))
	}
	m := mode.Mode{Name: "A", SystemPrompt: "P", Tools: []string{"a"}, Sampling: mode.Sampling{MaxTokens: new(9), Stop: []string{"x"}, Seed: new(uint32(1))}}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := Transform(m, 100)(body)
		if err != nil {
			if got != nil || fault.KindOf(err) != fault.Input {
				t.Fatalf("%s, %v", got, err)
			}
			return
		}
		var said struct {
			Messages []struct{ Role string }
		}
		if err := json.Unmarshal(got, &said); err != nil || len(said.Messages) == 0 || said.Messages[0].Role != "system" {
			t.Fatalf("%s, %v", got, err)
		}
	})
}
