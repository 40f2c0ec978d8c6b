package fidelity

import (
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
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
