package mode

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestFaultsNameLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"modes\": {]}":      "s:2:13: invalid character ']'",
		"{":                        "s:1:1: unexpected end",
		"[]":                       "s:1:1: the settings: expected an object {…}",
		"{\"modes\": 5}":           "s:1:11: modes: expected an object {…}",
		"{\"modes\": {\"A\": []}}": "s:1:17: modes.A: expected an object {…}",
		"{\"modes\": {\"А\": {\"temperature\": 3}}}":                "s:1:33: modes.А.temperature: 3 is not between 0 and 2",
		"{\"modes\": {\"A\": {\"topK\": 1.5}}}":                     "s:1:26: modes.A.topK: expected a number between 0 and",
		"{\"modes\": {\"A\": {\"seed\": 4294967295}}}":              "4294967295 is not between 0 and 4294967294",
		"{\"modes\": {\"A\": {\"seed\": -1}}}":                      "modes.A.seed: expected a number",
		"{\"modes\": {\"A\": {\"maxTokens\": 0}}}":                  "0 is not between 1 and",
		"{\"modes\": {\"A\": {\"systemPrompt\": []}}}":              "modes.A.systemPrompt: expected a text",
		"{\"modes\": {\"A\": {\"stop\": \"x\"}}}":                   "modes.A.stop: expected a list of texts",
		"{\"modes\": {\"A\": {\"stop\": [\"\"]}}}":                  "expected texts of 1 to 256 bytes",
		"{\"modes\": {\"A\": {\"tools\": [null]}}}":                 "modes.A.tools: expected texts of",
		"{\"modes\": {\"A B\": {}}}":                                "s:1:12: modes.A B: expected a name",
		"{\"modes\": {},\n\"modes\": {}}":                           "s:2:1: the settings: key \"modes\" stands here twice",
		"{\"startup\": {\"greeting\": 1}}":                          "s:1:26: startup.greeting: expected a text",
		"{\"a\": \"\xff\"}":                                         "s:1:8: no UTF-8",
		" \n":                                                       "s:1:1: the file is empty",
		"{} {}":                                                     "s:1:4: invalid character '{'",
		"{\"modes\": {\"A\": {\"topP\": 2}, \"B\": {\"minP\": 2}}}": "s:1:44: modes.B.minP: 2 is not", // all are told
	} {
		s, err := parseSettings("s", []byte(text), nil)
		if s != nil || err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s\n\t%v\n\twant %s", text, err, want)
		}
	}
}

func TestSlipsAreNoted(t *testing.T) {
	s, err := parseSettings("s", []byte("{\"modes\":{\"A\":{\"temprature\":1,\n\"colour\":1}},\"startp\":1,\"listen\":1}"), nil)
	want := []string{`s:1:16: modes.A.temprature is not known, did you mean "temperature"?`, `s:2:14: startp is not known, did you mean "startup"?`}
	if err != nil || cmp.Diff(want, s.notes) != "" {
		t.Errorf("%v %v", err, s)
	}
}

const stranger = `{
  "listen": ":8443",
  "big": 12345678901234567890.10,
  "modes": {
    "A": {
      "colour": "<red>",
      "systemPrompt": "a",
      "topP": 0.5
    },
    "RECURSIA": {
      "x": [1, {"y": null}]
    }
  },
  "after": {}
}`

func TestEditsKeepWhatTheyDoNotKnow(t *testing.T) {
	root := t.TempDir()
	write(t, root, SettingsFile, stranger)
	check(t, os.Chmod(filepath.Join(root, SettingsFile), 0o600))
	s := open(t, root)
	a := Mode{Name: "A", SystemPrompt: "Say <b> & go.", Tools: []string{}, Sampling: Sampling{Stop: []string{"<|user|>"}}}
	check(t, s.Put(t.Context(), a))
	check(t, s.Put(t.Context(), Mode{Name: "RECURSIA", SystemPrompt: "r"}))
	check(t, s.Put(t.Context(), Mode{Name: "NEW", SystemPrompt: "n"}))
	check(t, s.Remove(t.Context(), "SHORT"))
	check(t, s.Put(t.Context(), Mode{Name: "GONE"}))
	check(t, s.Remove(t.Context(), "GONE"))
	want := `{
  "listen": ":8443",
  "big": 12345678901234567890.10,
  "modes": {
    "A": {
      "colour": "<red>",
      "systemPrompt": "Say <b> & go.",
      "stop": [
        "<|user|>"
      ],
      "tools": []
    },
    "RECURSIA": {
      "x": [
        1,
        {
          "y": null
        }
      ],
      "systemPrompt": "r",
      "temperature": null
    },
    "NEW": {
      "systemPrompt": "n"
    },
    "SHORT": null
  },
  "after": {}
}
`
	if d := cmp.Diff(want, read(t, root, SettingsFile)); d != "" {
		t.Error(d)
	}
	if info, err := os.Stat(filepath.Join(root, SettingsFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("others may read it now", err)
	}
	again := open(t, root)
	if got, err := again.Get("A"); err != nil || cmp.Diff(a, got) != "" {
		t.Errorf("%+v %v", got, err)
	}
	if names(again) != "A NEW RECURSIA" {
		t.Error(names(again))
	}
}

func TestEditsThatAreRefused(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	_, err := s.Switch(t.Context(), "SHORT")
	check(t, err)
	for name, err := range map[string]error{
		"name":        s.Put(t.Context(), Mode{Name: "a b"}),
		"no name":     s.Put(t.Context(), Mode{}),
		"temperature": s.Put(t.Context(), Mode{Name: "A", Sampling: Sampling{Temperature: new(5.0)}}),
		"NaN":         s.Put(t.Context(), Mode{Name: "A", Sampling: Sampling{Temperature: new(math.NaN())}}),
		"UTF-8":       s.Put(t.Context(), Mode{Name: "A", SystemPrompt: "\xff"}),
		"too large":   s.Put(t.Context(), Mode{Name: "A", SystemPrompt: strings.Repeat("x", maxSettings)}),
		"current":     s.Remove(t.Context(), "SHORT"),
		"unknown":     s.Remove(t.Context(), "NOBODY"),
	} {
		if fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, SettingsFile)); err == nil || names(s) != "RECURSIA SHORT" {
		t.Error("something was written")
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(stranger))
	f.Add([]byte(`{"modes":{"A":{"temperature":0.2,"seed":1,"stop":["x"],"tools":[]},"B":null},"startup":{"greeting":"?"}}`))
	f.Add([]byte(`{"modes":null}`))
	f.Add([]byte("{\"a\":1,\"a\":2}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSettings("s", text, nil)
		if err != nil {
			if s != nil || fault.KindOf(err) != fault.Input {
				t.Fatalf("%v with %v", err, s)
			}
			return
		}
		same := func(o object) (object, error) { return o, nil }
		once, err := edited(text, same)
		check(t, err)
		again, err := parseSettings("s", once, nil)
		check(t, err)
		if d := cmp.Diff(s.modes, again.modes); d != "" {
			t.Fatalf("written and read again:\n%s", d)
		}
		if twice, err := edited(once, same); err != nil || string(twice) != string(once) {
			t.Fatalf("%v: %s\n%s", err, once, twice)
		}
		for _, m := range s.modes {
			check(t, m.check())
		}
	})
}
