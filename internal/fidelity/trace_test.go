package fidelity

import (
	"os"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/trace"
)

func TestTracesAreStrict(t *testing.T) {
	const good = `{"id":"1","mode":"SAIGA","messages":[{"role":"user","content":"Кто ты?"}],"settings":{"temperature":0,"seed":1,"n_predict":64},"answer":"Я","tokens":[1,2],"timings":{"ms":3}}`
	if _, err := parseTrace([]byte(good)); err != nil {
		t.Error(err)
	}
	for name, line := range map[string]string{
		"no JSON":            "{",
		"two in a line":      good + good,
		"an unknown key":     strings.Replace(good, `"id"`, `"name"`, 1),
		"an unknown setting": strings.Replace(good, `"seed"`, `"sead"`, 1),
		"no question":        `{"settings":{},"answer":"x"}`,
		"two questions":      strings.Replace(good, `"id"`, `"prompt":"x","id"`, 1),
		"a strange role":     strings.Replace(good, `"user"`, `"root"`, 1),
		"no answer":          `{"prompt":"x","settings":{}}`,
		"without end":        strings.Replace(good, `64`, `1000000`, 1),
		"a seed below zero":  strings.Replace(good, `"seed":1`, `"seed":-1`, 1),
	} {
		if _, err := parseTrace([]byte(line)); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAgentTraces: what the agent writes is read.
func TestAgentTraces(t *testing.T) {
	secrets := &trace.Secrets{}
	if err := secrets.Add("hunter22"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := trace.Open(dir, trace.Options{Sync: trace.SyncNever, Redact: secrets.Redact})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	half, seed, n := 0.5, uint32(7), 64
	ask := []trace.Message{{Role: "system", Content: "s"}, {Role: "user", Content: "Кто ты?"}}
	all := trace.Settings{Temperature: &half, Seed: &seed, TopK: &n, TopP: &half, MinP: &half, RepeatPenalty: &half, Predict: &n, Stop: []string{"\n"}}
	whole := trace.Record{ID: "1", Source: "rest", Role: "talk", Mode: "SAIGA", Model: "sha256:0", Messages: ask, Settings: all, Answer: "Я",
		Tokens: []int{1, 2}, Timings: trace.Timings{PromptN: 1, PromptMS: 2, PredictedN: 3, PredictedMS: 4, QueueMS: 5, FirstMS: 6, TotalMS: 7}}
	failed, secret := whole, whole
	failed.Answer, failed.Tokens, failed.Error = "", nil, "the model server is away"
	secret.Answer = "It is hunter22."
	for _, r := range []trace.Record{failed, secret, {Error: "bad request"}, {Prompt: "x"}, {Prompt: "x", Answer: "y"}} {
		if err := w.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	lines := read(t, dir+"/"+trace.JSONFile)
	r, err := Replay(t.Context(), Target{Server: replayServer(t, nil)}, strings.NewReader(lines), Options{})
	if err != nil || r.NotAsked != 5 || strings.Contains(lines, "hunter") {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Truncate(dir+"/"+trace.JSONFile, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	got, err := parseTrace([]byte(read(t, dir+"/"+trace.JSONFile)))
	if err != nil || got.unrepeatable() != "" || *got.Settings.Predict != 64 || len(got.Tokens) != 2 || got.Messages[1].Content != "Кто ты?" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReplayNamesTheLine(t *testing.T) {
	url := replayServer(t, nil)
	const unasked = `{"prompt":"x","settings":{},"answer":"y"}` + "\n"
	_, err := Replay(t.Context(), Target{Server: url}, strings.NewReader(unasked+"\n{}\n"), Options{})
	if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "line 3") {
		t.Error(err)
	}
	r, err := Replay(t.Context(), Target{Server: url}, strings.NewReader(unasked), Options{})
	if err != nil || r.NotAsked != 1 || r.Err() == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReportsAreBounded(t *testing.T) {
	r := &ReplayReport{}
	for range 2 * maxEntries {
		r.add(Exchange{Status: Pass})
	}
	r.add(Exchange{Status: Fail, ID: "bad"})
	if r.Equal != 2*maxEntries || r.Differ != 1 || len(r.Exchanges) != maxEntries || r.Exchanges[maxEntries-1].ID != "bad" {
		t.Errorf("%d, %d, %d", r.Equal, r.Differ, len(r.Exchanges))
	}
}
