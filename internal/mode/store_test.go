package mode

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/wire"
	"github.com/google/go-cmp/cmp"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t testing.TB, root, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	check(t, err)
	return string(data)
}

func open(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root, wire.Config{Greeting: "Hello?", Modes: map[string]wire.Mode{
		"RECURSIA": {SystemPrompt: "Think about yourself.", Temperature: new(0.2)}, "SHORT": {SystemPrompt: "Be short."},
	}})
	check(t, err)
	return s
}

func names(s *Store) string {
	var list []string
	for _, m := range s.List() {
		list = append(list, m.Name)
	}
	return strings.Join(list, " ")
}

func TestSettingsOverTheRecipe(t *testing.T) {
	root := t.TempDir()
	write(t, root, SettingsFile, `{"modes":{
		"RECURSIA":{"topP":0.9,"temperature":null,"seed":7,"stop":["</s>"],"tools":[],"colour":"red"},
		"SHORT":null,
		"ДЛИННО":{"systemPrompt":"Говори.","temperature":0,"topK":40,"minP":0.05,"repeatPenalty":1.1,"maxTokens":9,"tools":["clock"]}},
		"listen":":8443"}`)
	s := open(t, root)
	want := []Mode{
		{Name: "RECURSIA", SystemPrompt: "Think about yourself.", Tools: []string{}, Sampling: Sampling{TopP: new(0.9), Seed: new(uint32(7)), Stop: []string{"</s>"}}},
		{Name: "ДЛИННО", SystemPrompt: "Говори.", Tools: []string{"clock"}, Sampling: Sampling{Temperature: new(0.0), TopK: new(40), MinP: new(0.05), RepeatPenalty: new(1.1), MaxTokens: new(9)}},
	}
	if d := cmp.Diff(want, s.List()); d != "" || s.Fault() != nil || len(s.Notes()) != 0 {
		t.Errorf("%s\n%v %v", d, s.Fault(), s.Notes())
	}
	if m := want[0]; m.Allows("clock") || !want[1].Allows("clock") || want[1].Allows("shell") || !(Mode{}).Allows("shell") {
		t.Error("the wrong tools are allowed")
	}
	got := Sampling{Seed: new(uint32(1)), Stop: []string{}}.Over(want[0].Sampling)
	if d := cmp.Diff(Sampling{TopP: new(0.9), Seed: new(uint32(1)), Stop: []string{}}, got); d != "" {
		t.Error(d)
	}
}

func TestSwitchSurvivesARestart(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if m := s.Current(); m.Name != None {
		t.Errorf("begins with %q", m.Name)
	}
	if m, err := s.Switch(t.Context(), "RECURSIA"); err != nil || m.SystemPrompt != "Think about yourself." {
		t.Fatal(m, err)
	}
	before := read(t, root, CurrentFile)
	if _, err := s.Switch(t.Context(), "RECURSIA"); err != nil || read(t, root, CurrentFile) != before {
		t.Errorf("%v, or the time of the switch changed", err)
	}
	if m := open(t, root).Current(); m.Name != "RECURSIA" {
		t.Errorf("after a restart the mode is %q", m.Name)
	}
	_, err := s.Switch(t.Context(), "RECURSA")
	if fault.KindOf(err) != fault.Input || fault.HintOf(err) != `did you mean "RECURSIA"?` || s.Current().Name != "RECURSIA" {
		t.Errorf("%v, %q", err, fault.HintOf(err))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Switch(gone, "SHORT"); err == nil || s.Current().Name != "RECURSIA" {
		t.Errorf("switched for nobody: %v", err)
	}
	if _, err := s.Switch(t.Context(), None); err != nil || open(t, root).Current().Name != None {
		t.Error("no way back to the model as it is", err)
	}
}

func TestFilesChangeUnderneath(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	other := open(t, root)
	_, err := other.Switch(t.Context(), "SHORT")
	check(t, err)
	if s.Current().Name != "SHORT" {
		t.Error("another one's switch is not seen")
	}
	for _, prompt := range []string{"one", "two", "три"} { // within the clock's grain, and of one size
		write(t, root, SettingsFile, `{"modes":{"SHORT":{"systemPrompt":"`+prompt+`"}}}`)
		if got := s.Current().SystemPrompt; got != prompt {
			t.Errorf("%q, not %q", got, prompt)
		}
	}
	write(t, root, SettingsFile, `{"modes":{"SHORT":null}}`)
	if s.Current().Name != None || fault.KindOf(s.Fault()) != fault.Input {
		t.Errorf("a mode that is gone is current: %v", s.Fault())
	}
	check(t, os.Remove(filepath.Join(root, SettingsFile)))
	if s.Current().Name != "SHORT" || s.Fault() != nil {
		t.Errorf("a mode that came back: %q, %v", s.Current().Name, s.Fault())
	}
	write(t, root, CurrentFile, `{"mode":`)
	if s.Current().Name != "SHORT" || s.Fault() == nil {
		t.Error("a broken mode.json is used")
	}
}

func TestUnchangedFilesAreNotRead(t *testing.T) {
	root := t.TempDir()
	write(t, root, SettingsFile, `{"modes":{"A":{"systemPrompt":"a"}}}`)
	path := filepath.Join(root, SettingsFile)
	long := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(path, long, long))
	s := open(t, root)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(t, err)
	f.WriteString(`{"modes":{"B":`)
	f.Close()
	check(t, os.Chtimes(path, long, long))
	if got := names(s); got != "A RECURSIA SHORT" || s.Fault() != nil {
		t.Errorf("%s, %v", got, s.Fault())
	}
}

func TestBrokenFilesKeepTheLastGoodModes(t *testing.T) {
	root := t.TempDir()
	write(t, root, SettingsFile, `{"modes":{"A":{"systemPrompt":"a"}}}`)
	s := open(t, root)
	path := filepath.Join(root, SettingsFile)
	for name, breaks := range map[string]func(){
		"syntax":    func() { write(t, root, SettingsFile, "{\n \"modes\": {]}") },
		"empty":     func() { write(t, root, SettingsFile, "") },
		"too large": func() { write(t, root, SettingsFile, strings.Repeat(" ", maxSettings+1)) },
		"a folder":  func() { check(t, os.Mkdir(path, 0o755)) },
		"a pipe":    func() { check(t, syscall.Mkfifo(path, 0o644)) },
		"a link":    func() { check(t, os.Symlink("/etc/passwd", path)) },
	} {
		check(t, os.RemoveAll(path))
		breaks()
		if s.Fault() == nil || names(s) != "A RECURSIA SHORT" {
			t.Errorf("%s: %v, %s", name, s.Fault(), names(s))
		}
		if err := s.Put(t.Context(), Mode{Name: "B"}); err == nil || fault.HintOf(err) == "" {
			t.Errorf("%s: edited", name)
		}
		if got := names(open(t, root)); got != "RECURSIA SHORT" {
			t.Errorf("%s: a new store has %s", name, got)
		}
	}
}

func TestStoreAtOnce(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	var all sync.WaitGroup
	for i, name := range []string{"RECURSIA", "SHORT", None, "RECURSIA"} {
		all.Go(func() {
			for range 10 {
				if _, err := s.Switch(t.Context(), name); err != nil {
					t.Error(err)
				}
				if m := s.Current(); m.Name == "RECURSIA" && m.SystemPrompt != "Think about yourself." {
					t.Errorf("half a mode: %+v", m)
				}
				if err := s.Put(t.Context(), Mode{Name: string(rune('A' + i))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := names(open(t, root)); got != "A B C D RECURSIA SHORT" {
		t.Errorf("edits were lost: %s", got)
	}
}

func TestOpenWantsAFolder(t *testing.T) {
	root := t.TempDir()
	write(t, root, "f", "")
	for _, path := range []string{root + "/f", root + "/none"} {
		if _, err := Open(path, wire.Config{}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}
