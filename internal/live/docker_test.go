package live

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
)

// dockerEngine starts an engine of the test's own and returns how to talk to it.
func dockerEngine(t *testing.T) func(args ...string) string {
	t.Helper()
	referee.Need(t, "docker", "dockerd", "busybox")
	dir := t.TempDir()
	t.Setenv("DOCKER_HOST", "unix://"+dir+"/docker.sock")
	c := referee.Command(t, "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root", dir+"/data",
		"--exec-root", dir+"/exec", "-p", dir+"/pid", "-H", os.Getenv("DOCKER_HOST"))
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) } // so that it ends its containers
	c.WaitDelay = 20 * time.Second
	check(t, c.Start())
	t.Cleanup(func() { c.Process.Signal(syscall.SIGTERM); c.Wait() })
	for until := time.Now().Add(time.Minute); referee.Command(t, "docker", "version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("dockerd does not start:\n%s", said.Bytes())
		}
	}
	return func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(referee.Run(t, "docker", args...))
	}
}

// TestE2EDocker pauses the containers that can write below the folder, and these only, and has them go on: also when it is
// killed at any moment.
func TestE2EDocker(t *testing.T) {
	referee.E2E(t)
	docker := dockerEngine(t)
	img, root := t.TempDir(), t.TempDir()
	check(t, os.Mkdir(img+"/bin", 0o755))
	referee.Run(t, "cp", referee.Path(t, "busybox"), img+"/bin/sh")
	check(t, os.Mkdir(root+"/memory", 0o755))
	referee.Run(t, "tar", "-C", img, "-cf", img+".tar", ".")
	docker("import", img+".tar", "box")
	loop := "i=0; exec >>/state/$0.jsonl; while :; do echo \"{\\\"n\\\":$i}\"; i=$((i+1)); done"
	docker("run", "-d", "--name", "writer", "--network", "none", "-v", root+"/memory:/state", "box", "sh", "-c", loop, "writer")
	docker("run", "-d", "--name", "above", "--network", "none", "-v", filepath.Dir(root)+":/all", "box", "sh", "-c", "while :; do :; done")
	docker("run", "-d", "--name", "reader", "--network", "none", "-v", root+":/state:ro", "box", "sh", "-c", "while :; do :; done")
	docker("run", "-d", "--name", "elsewhere", "--network", "none", "-v", t.TempDir()+":/state", "box", "sh", "-c", loop, "other")
	docker("run", "-d", "--name", "before", "--network", "none", "-v", root+":/state", "box", "sh", "-c", loop, "before")
	docker("pause", "before")
	states := func() string {
		return docker("inspect", "-f", "{{.Name}}={{.State.Status}}", "writer", "above", "reader", "elsewhere", "before")
	}
	usual := strings.ReplaceAll("/writer=running /above=running /reader=running /elsewhere=running /before=paused", " ", "\n")

	f, err := Freeze(t.Context(), root, Options{})
	check(t, err)
	if got, want := states(), strings.NewReplacer("/writer=running", "/writer=paused", "/above=running", "/above=paused").Replace(usual); got != want || len(f.Stopped) != 0 {
		t.Errorf("frozen: %s, stopped %v", got, f.Stopped)
	}
	check(t, f.Thaw())
	if got := states(); got != usual {
		t.Errorf("thawed: %s", got)
	}
	t.Logf("held %v", f.Held)
	for range 3 {
		s, err := Stage(t.Context(), root, []string{"memory/writer.jsonl"}, t.TempDir(), Options{})
		check(t, err)
		whole(t, s.Files[0])
		t.Logf("frozen %v, paused %v", s.Frozen, s.Paused)
	}
	for i := range 20 {
		c := start(t, "stage", root, t.TempDir(), "memory/writer.jsonl")
		c.first(t)
		time.Sleep(time.Duration(i) * 30 * time.Millisecond)
		c.Process.Kill()
		c.Wait()
		for until := time.Now().Add(15 * time.Second); states() != usual; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("kill %d: %s", i, states())
			}
		}
	}
	check(t, afterKills(root+"/memory/writer.jsonl"))
	if got := states(); got != usual {
		t.Errorf("in the end: %s", got)
	}
}

// afterKills waits until a file grows.
func afterKills(path string) error {
	time.Sleep(2 * time.Second) // guardians try again for some time
	before, err := os.Stat(path)
	if err != nil {
		return err
	}
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if now, err := os.Stat(path); err == nil && now.Size() > before.Size() {
			return nil
		}
	}
	return os.ErrDeadlineExceeded
}
