package main

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/rootfs"
)

func TestMain(m *testing.M) {
	namespace.Main(rootfs.Tasks())
	programs := map[string]func(){"agibake": main}
	maps.Copy(programs, benchChildren)
	testscript.Main(m, programs)
}

// TestScripts runs the real main over testdata/script: good and bad command lines, with their exit codes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: home,
		Cmds:  commands,
	})
}

// commands are what scripts can do beyond testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"exits": exits, "locked": locked, "appliance": appliance, "serve": serve, "flip": flip, "spoil": spoil, "mind": mind,
}

// home keeps a script's files in its own folder.
func home(e *testscript.Env) error {
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
	e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state")
	e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
	return nil
}

// exits CODE ARG… runs agibake and requires that exit code; stdout and stderr can then be matched.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG…")
	}
	err := ts.Exec("agibake", args[1:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("agibake %s: exit code %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

func TestHelpShowsEveryExitCode(t *testing.T) {
	var out bytes.Buffer
	root := newRoot(&app{stdout: &out, stderr: &out})
	root.SetArgs([]string{"--help"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range fault.Kinds {
		if !strings.Contains(out.String(), k.Text) {
			t.Errorf("help lacks exit code %d, %s", k.Code, k.Text)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), k.Text[:min(len(k.Text), 20)]) {
			t.Errorf("README.md lacks exit code %d, %s", k.Code, k.Text)
		}
	}
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" && !strings.Contains(string(readme), "`"+c.Name()) {
			t.Errorf("README.md lacks the verb %s", c.Name())
		}
	}
}
