package namespace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/referee"
)

func TestMain(m *testing.M) {
	namespace.Main(map[string]namespace.Task{"look": look, "fail": failing, "sleep": sleeping, "leave": leaving, "as-user": asUser})
	if dir := os.Getenv("NAMESPACE_TEST_PARENT"); dir != "" { // the program that TestParentKilled kills
		namespace.Run(context.Background(), "sleep", dir, nil)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

type seen struct {
	UID, PID int
	Dir      string
}

// look reports who and where it is, mounts a tmpfs on the folder it is given and writes there as user 1234.
func look(_ context.Context, input json.RawMessage, p progress.Func) error {
	var dir string
	if err := json.Unmarshal(input, &dir); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return err
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		return err
	}
	s, _ := os.Stat(file)
	text, _ := json.Marshal(seen{os.Getuid(), os.Getpid(), fmt.Sprint(s.Mode())})
	p.Step("look", string(text))
	return nil
}

func failing(context.Context, json.RawMessage, progress.Func) error {
	return fault.Hint(fault.Mark(fault.Untrusted, errors.New("bad seal")), "look at the seal")
}

func sleeping(_ context.Context, input json.RawMessage, _ progress.Func) error {
	var dir string
	json.Unmarshal(input, &dir)
	c := exec.Command("sh", "-c", "trap '' TERM; echo $$ > "+dir+"/started; setsid sleep 97.125 & sleep 97.25")
	return c.Run()
}

func requireNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 || os.Getenv("AGIBAKE_REQUIRE_TOOLS") == "1" {
		return
	}
	if err := namespace.Run(t.Context(), "fail", nil, nil); fault.KindOf(err) == fault.Missing {
		t.Skipf("SKIPPED: %v", err)
	}
}

func checkLook(t *testing.T, dir string) {
	t.Helper()
	var events []progress.Event
	if err := namespace.Run(t.Context(), "look", dir, func(e progress.Event) { events = append(events, e) }); err != nil {
		t.Fatalf("%v (hint: %s)", err, fault.HintOf(err))
	}
	if len(events) != 1 {
		t.Fatalf("events: %v", events)
	}
	var s seen
	if err := json.Unmarshal([]byte(events[0].Item), &s); err != nil {
		t.Fatal(err)
	}
	if s.UID != 0 || s.PID != 1 || s.Dir != "-rw-r--r--" {
		t.Errorf("inside: %+v", s)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Error("the mount is still there")
	}
}

func TestRun(t *testing.T) {
	requireNamespaces(t)
	checkLook(t, t.TempDir())
}

func TestFailureKeepsKindAndHint(t *testing.T) {
	requireNamespaces(t)
	err := namespace.Run(t.Context(), "fail", nil, nil)
	if err == nil || err.Error() != "bad seal" || fault.KindOf(err) != fault.Untrusted || fault.HintOf(err) != "look at the seal" {
		t.Errorf("got %v, kind %d, hint %q", err, fault.KindOf(err), fault.HintOf(err))
	}
	if err := namespace.Run(t.Context(), "nothing", nil, nil); err == nil || !strings.Contains(err.Error(), "no task") {
		t.Errorf("unknown task: %v", err)
	}
}

// leaving leaves a tree as a killed bake does: a folder of another user, closed and not empty.
func leaving(_ context.Context, input json.RawMessage, _ progress.Func) error {
	var dir string
	err := json.Unmarshal(input, &dir)
	return errors.Join(err, os.MkdirAll(dir+"/tree/etc", 0o755), os.WriteFile(dir+"/tree/etc/shadow", nil, 0o600),
		os.Chown(dir+"/tree/etc", 1234, 1234), os.Chmod(dir+"/tree/etc", 0o700))
}

func TestRemoveAll(t *testing.T) {
	requireNamespaces(t)
	dir, err := os.MkdirTemp("", "namespace")
	if err != nil {
		t.Fatal(err)
	}
	if err := namespace.Run(t.Context(), "leave", dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); os.Getuid() != 0 && err == nil {
		t.Error("no help was needed: this proves nothing")
	}
	if err := namespace.RemoveAll(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there", dir)
	}
}

// sleepers counts the processes that the sleep task starts.
func sleepers() int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	n := 0
	for _, f := range files {
		if data, _ := os.ReadFile(f); bytes.HasPrefix(data, []byte("sleep\x0097.")) {
			n++
		}
	}
	return n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

func exists(name string) func() bool {
	return func() bool { _, err := os.Stat(name); return err == nil }
}

func TestCancelEndsEveryProcess(t *testing.T) {
	requireNamespaces(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- namespace.Run(ctx, "sleep", dir, nil) }()
	waitFor(t, "the start", exists(dir+"/started"))
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Interrupted {
		t.Errorf("got %v", err)
	}
	waitFor(t, "the end of every process", func() bool { return sleepers() == 0 })
}

func TestParentKilled(t *testing.T) {
	requireNamespaces(t)
	dir := t.TempDir()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "NAMESPACE_TEST_PARENT="+dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the start", exists(dir+"/started"))
	c.Process.Kill()
	c.Wait()
	waitFor(t, "the end of every process", func() bool { return sleepers() == 0 })
}

// TestOrdinaryUser repeats TestRun as a user with subordinate ids, known only in a mount namespace of the test's own.
func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: this process is an ordinary user already")
	}
	referee.Need(t, "newuidmap", "newgidmap")
	for _, c := range []struct{ name, subids, want string }{
		{"mapped", "baker:300000:40000\nbaker:400000:40000\n", ""},
		{"too few", "baker:300000:65\n", "sudo usermod --add-subuids 300065-365600 baker"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "namespace")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			os.Chmod(dir, 0o755)
			exe := filepath.Join(dir, "test")
			data, err := os.ReadFile(os.Args[0])
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(exe, data, 0o755)
			os.WriteFile(dir+"/subids", []byte(c.subids), 0o644)
			passwd, _ := os.ReadFile("/etc/passwd")
			os.WriteFile(dir+"/passwd", append(passwd, "baker:x:54321:54321::/:/bin/sh\n"...), 0o644)
			err = namespace.Run(t.Context(), "as-user", dir, func(e progress.Event) { t.Log(e.Item) })
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v", err)
			}
		})
	}
}

func asUser(_ context.Context, input json.RawMessage, p progress.Func) error {
	var dir string
	json.Unmarshal(input, &dir)
	for file, target := range map[string]string{"subids": "/etc/subuid", "passwd": "/etc/passwd"} {
		if err := unix.Mount(filepath.Join(dir, file), target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := unix.Mount(filepath.Join(dir, "subids"), "/etc/subgid", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	c := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestRun$|^TestFailure|^TestRemoveAll$", "-test.v")
	c.Env = []string{"AGIBAKE_REQUIRE_TOOLS=1", "PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp"}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	p.Step("as-user", string(out))
	return nil
}
