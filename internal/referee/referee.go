// Package referee finds and runs the foreign tools with which tests judge what we write. Only tests import it.
package referee

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Need skips the test, loudly, unless all the tools are in PATH, in the sbin folders that ordinary users lack there, or
// in bin/referees of the repository, where `make referees` builds some.
// With AGIBAKE_REQUIRE_TOOLS=1 their absence is a failure.
func Need(t testing.TB, names ...string) {
	t.Helper()
	var missing []string
	for _, name := range names {
		if look(name) == "" {
			missing = append(missing, name)
		}
	}
	switch list := strings.Join(missing, ", "); {
	case list == "":
	case os.Getenv("AGIBAKE_REQUIRE_TOOLS") == "1":
		t.Fatalf("missing: %s", list)
	default:
		t.Skipf("SKIPPED: nothing was proved, missing: %s", list)
	}
}

func look(name string) string {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/", built()} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	return ""
}

// built returns the folder of the referees that are built from source, above the test's own.
func built() string {
	dir, _ := os.Getwd()
	for ; len(dir) > 1; dir = filepath.Dir(dir) {
		if own := dir + "/bin/referees/"; exists(own) {
			return own
		}
	}
	return "bin/referees/"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Path returns where a tool that the test needs is.
func Path(t testing.TB, name string) string {
	t.Helper()
	Need(t, name)
	return look(name)
}

// Command is exec.Command for a tool that the test needs. The tool speaks English and thinks in UTC.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	Need(t, name)
	c := exec.CommandContext(t.Context(), look(name), args...)
	c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	return c
}

// Run runs a tool that the test needs, ends the test unless it exits with 0, and returns all that it printed.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Command(t, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%.4000s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// E2E skips a test that takes long, or wants root, a network or a virtual machine, unless AGIBAKE_E2E=1. `make e2e` finds
// such tests by their names: TestE2E….
func E2E(t testing.TB) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestE2E") {
		t.Fatalf("the name of %s must begin with TestE2E", t.Name())
	}
	if os.Getenv("AGIBAKE_E2E") != "1" {
		t.Skip("SKIPPED: works for real, and long; set AGIBAKE_E2E=1")
	}
}
