package mode

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestStartup(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	want := func(text string) {
		t.Helper()
		if got, err := s.Startup(); err != nil || got != text {
			t.Errorf("%q, %v, not %q", got, err, text)
		}
	}
	want("Hello?")
	write(t, root, StartupFile, "\n Кто ты?\n")
	want("Кто ты?")
	write(t, root, SettingsFile, `{"startup":{"greeting":"Who?"}}`)
	want("Who?")
	write(t, root, SettingsFile, `{}`)
	write(t, root, StartupFile, " \n")
	want("Hello?")
	write(t, root, StartupFile, "\xff")
	if _, err := s.Startup(); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	check(t, os.WriteFile(filepath.Join(root, StartupFile), make([]byte, maxStartup+1), 0o644))
	if _, err := s.Startup(); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestGreetingIsKept(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if g, err := s.Greeting(); g != nil || err != nil {
		t.Errorf("%v %v", g, err)
	}
	want := Greeting{Time: time.Unix(1e9, 0).UTC(), Model: "sha256:00", Mode: "SHORT", Question: "Кто ты?", Text: "Я <модель>."}
	check(t, s.KeepGreeting(t.Context(), want))
	if g, err := open(t, root).Greeting(); err != nil || cmp.Diff(&want, g) != "" {
		t.Errorf("%v %v", g, err)
	}
	if err := s.KeepGreeting(t.Context(), Greeting{Text: " "}); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	write(t, root, GreetingFile, "{")
	if g, err := s.Greeting(); g != nil || fault.KindOf(err) != fault.Input {
		t.Errorf("%v %v", g, err)
	}
}
