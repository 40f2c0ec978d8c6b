package trace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// TestMain is also the writer that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TRACE_TEST_WRITER"); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir string) {
	w, err := Open(dir, Options{MaxSize: 300_000, KeepBytes: -1, SyncEvery: time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for n := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := NewID()
				if err := w.Append(context.Background(), exchange(id, strings.Repeat("я", long(i+n)))); err != nil {
					fmt.Println("error", err)
				}
				os.Stdout.WriteString(id + "\n")
			}
		}()
	}
	select {}
}

func TestKilledWriters(t *testing.T) {
	dir, acknowledged := t.TempDir(), map[string]bool{}
	for range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TRACE_TEST_WRITER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := rand.IntN(150)
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.HasPrefix(s.Text(), "error") {
				t.Error(s.Text())
			}
			acknowledged[s.Text()] = true
			if left--; left <= 0 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
	}
	open(t, dir, Options{}).Close()
	ids := consistent(t, dir)
	for _, id := range ids {
		delete(acknowledged, id)
	}
	slices.Sort(ids)
	if n := len(ids); len(acknowledged) > 0 || len(slices.Compact(ids)) != n {
		t.Errorf("%d acknowledged lines are missing, or some of %d are there twice", len(acknowledged), n)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIPPED: mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 400_000), 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, dir, Options{Sync: SyncAlways, KeepBytes: -1, MaxSize: 150_000})
	var want []string
	fill := func() {
		t.Helper()
		for n, failed := 0, 0; failed < 20; n++ {
			id := NewID()
			err := w.Append(t.Context(), exchange(id, strings.Repeat("x", 1+n*37%9000)))
			switch {
			case err == nil:
				want = append(want, id)
			case !errors.Is(err, unix.ENOSPC) || !strings.Contains(fault.HintOf(err), "make room"):
				t.Fatal(err)
			default:
				failed++
			}
		}
		if ids := consistent(t, dir); !slices.Equal(ids, want) {
			t.Errorf("%d lines for %d acknowledged", len(ids), len(want))
		}
	}
	fill()
	full := len(want)
	os.Remove(filler)
	fill()
	if full == 0 || len(want) < full+10 {
		t.Errorf("%d lines, then %d", full, len(want))
	}
	if ids, _ := take(t, w.Follow(t.Context(), Cursor{}), len(want)); !slices.Equal(ids, want) {
		t.Error("a follower saw something else")
	}
}

// TestFailedSync: who waits for a line of a failed fsync hears of it, also if a later fsync succeeds.
func TestFailedSync(t *testing.T) {
	w := open(t, t.TempDir(), Options{Sync: SyncAlways})
	add(t, w, exchange("1", "a"))
	w.syncing.Lock()
	w.written = 3
	w.settle(2, unix.EIO)
	w.syncing.Unlock()
	if err := w.syncTo(2); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := w.syncTo(3); err != nil {
		t.Error(err)
	}
	if err := w.syncTo(2); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}
