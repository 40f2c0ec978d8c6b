// Package referee finds and runs the foreign tools with which tests judge what we write. Only tests import it.
package referee

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Need skips the test, loudly, unless all the tools are in PATH or in the sbin folders that ordinary users lack there.
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
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	return ""
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

// E2E skips a test that takes long, or wants root, a network or a virtual machine, unless AGIBAKE_E2E=1.
func E2E(t testing.TB) {
	t.Helper()
	if os.Getenv("AGIBAKE_E2E") != "1" {
		t.Skip("SKIPPED: works for real, and long; set AGIBAKE_E2E=1")
	}
}
