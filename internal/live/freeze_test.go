package live

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var noDocker = Options{Docker: none}

func TestFreezeStopsWritersAndNothingElse(t *testing.T) {
	root := t.TempDir()
	writer := start(t, "jsonl", root+"/a.jsonl")
	stopped := start(t, "jsonl", root+"/b.jsonl")
	other := start(t, "jsonl", t.TempDir()+"/c.jsonl")
	for _, c := range []*child{writer, stopped, other} {
		c.first(t)
	}
	check(t, stopped.Process.Signal(syscall.SIGSTOP))
	for !halted(stopped.state(t)) {
		time.Sleep(time.Millisecond)
	}
	own, err := os.Create(root + "/own") // this process writes, too, and goes on
	check(t, err)
	defer own.Close()
	link := t.TempDir() + "/link"
	check(t, os.Symlink(root, link))

	if used, err := InUse(t.Context(), link, noDocker); err != nil || !used || halted(writer.state(t)) {
		t.Errorf("in use: %v, %v", used, err)
	}
	f, err := Freeze(t.Context(), link, noDocker)
	check(t, err)
	if len(f.Stopped) != 1 || f.Stopped[0].PID != writer.Process.Pid || !halted(writer.state(t)) || halted(other.state(t)) {
		t.Errorf("stopped %v; the writer is %d", f.Stopped, writer.Process.Pid)
	}
	before, _ := os.ReadFile(root + "/a.jsonl")
	time.Sleep(20 * time.Millisecond)
	if after, _ := os.ReadFile(root + "/a.jsonl"); len(after) != len(before) {
		t.Error("it still writes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if used, err := InUse(ctx, root, noDocker); err == nil {
		t.Errorf("beside a freeze, whose writer stands still, in use is %v", used)
	}
	check(t, f.Thaw())
	check(t, f.Thaw())
	if used, err := InUse(t.Context(), t.TempDir(), noDocker); err != nil || used {
		t.Errorf("an empty folder is in use: %v, %v", used, err)
	}
	running(t, writer, 10*time.Second)
	if !halted(stopped.state(t)) {
		t.Error("what was stopped before was resumed")
	}
	t.Logf("held %v", f.Held)
}

// TestDeadline resumes what a freezer that hangs left, and lets that one know.
func TestDeadline(t *testing.T) {
	root := t.TempDir()
	writer := start(t, "jsonl", root+"/a.jsonl")
	writer.first(t)
	f, err := Freeze(t.Context(), root, Options{Docker: none, Deadline: time.Second})
	check(t, err)
	running(t, writer, 10*time.Second)
	time.Sleep(100 * time.Millisecond)
	if err := f.Thaw(); !errors.Is(err, ErrResumed) {
		t.Errorf("thaw says %v", err)
	}
}

func TestSomeoneElseResumes(t *testing.T) {
	root := t.TempDir()
	writer := start(t, "jsonl", root+"/a.jsonl")
	writer.first(t)
	f, err := Freeze(t.Context(), root, noDocker)
	check(t, err)
	check(t, writer.Process.Signal(syscall.SIGCONT))
	running(t, writer, 10*time.Second)
	if err := f.Thaw(); !errors.Is(err, ErrResumed) {
		t.Errorf("thaw says %v", err)
	}
}

// TestFreezerHangs stops the freezing process itself: the guardian does not wait for it.
func TestFreezerHangs(t *testing.T) {
	root := t.TempDir()
	writer := start(t, "jsonl", root+"/a.jsonl")
	writer.first(t)
	c := start(t, "freeze", root, "1")
	c.first(t)
	check(t, c.Process.Signal(syscall.SIGSTOP))
	running(t, writer, 10*time.Second)
}

// TestGuardianTakesNoHint ends everything but with SIGKILL, and then the freezer.
func TestGuardianTakesNoHint(t *testing.T) {
	root := t.TempDir()
	writer := start(t, "jsonl", root+"/a.jsonl")
	writer.first(t)
	c := start(t, "freeze", root, "20")
	guardian, err := strconv.Atoi(c.first(t))
	check(t, err)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		check(t, syscall.Kill(guardian, s))
	}
	time.Sleep(50 * time.Millisecond)
	if !halted(writer.state(t)) {
		t.Error("resumed while the freezer lives")
	}
	c.Process.Kill()
	running(t, writer, 10*time.Second)
}

// TestKill kills a staging process at random moments: the writers always go on.
func TestKill(t *testing.T) {
	root := t.TempDir()
	lines, rolling, wal := start(t, "jsonl", root+"/a.jsonl"), start(t, "sqlite", root+"/roll.db", "delete"), start(t, "sqlite", root+"/wal.db", "wal")
	for _, c := range []*child{lines, rolling, wal} {
		c.first(t)
		go func() {
			for c.lines.Scan() {
			}
		}()
	}
	held := 0
	for range 20 {
		staging := filepath.Join(t.TempDir(), "staging")
		c := start(t, "stage", root, staging, "a.jsonl", "roll.db", "wal.db")
		c.first(t)
		time.Sleep(time.Duration(rand.Float64() * float64(300*time.Millisecond)))
		c.Process.Kill()
		c.Wait()
		for _, w := range []*child{lines, rolling, wal} {
			if halted(w.state(t)) {
				held++
			}
		}
		for _, w := range []*child{lines, rolling, wal} {
			running(t, w, 10*time.Second)
		}
	}
	t.Logf("of 20 kills left %d writers stopped for a moment", held)
	size := func() int64 { info, _ := os.Stat(root + "/a.jsonl"); return info.Size() }
	for before, until := size(), time.Now().Add(10*time.Second); size() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing is written any more")
		}
	}
}

func TestOneFreezeAtATime(t *testing.T) {
	root := t.TempDir()
	f, err := Freeze(t.Context(), root, noDocker)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Freeze(ctx, root, noDocker); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second freeze says %v", err)
	}
	check(t, f.Thaw())
	g, err := Freeze(t.Context(), root, noDocker)
	check(t, err)
	check(t, g.Thaw())
}
