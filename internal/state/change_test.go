package state

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// TestFilesThatChange: a file that is not what was found any more fails the capture and is named, in either lane.
func TestFilesThatChange(t *testing.T) {
	for _, name := range []string{"memory/notes.jsonl", "models/raw.bin"} {
		for how, change := range map[string]func(path string) error{
			"shrinks":  func(p string) error { return os.Truncate(p, 100) },
			"empties":  func(p string) error { return os.Truncate(p, 0) },
			"grows":    func(p string) error { return os.WriteFile(p, noise(1, 4<<20), 0o644) },
			"vanishes": os.Remove,
			"touched":  func(p string) error { return os.Chtimes(p, time.Now(), time.Now().Add(time.Hour)) },
			"a pipe":   func(p string) error { _ = os.Remove(p); return unix.Mkfifo(p, 0o644) },
			"a link":   func(p string) error { _ = os.Remove(p); return os.Symlink("/etc/passwd", p) },
			"a folder": func(p string) error { _ = os.Remove(p); return os.Mkdir(p, 0o755) },
		} {
			dir, l := mind(t), layout(t)
			list, err := Scan(t.Context(), dir, ScanOptions{})
			fatal(t, err)
			fatal(t, change(filepath.Join(dir, name)))
			_, err = Capture(t.Context(), l, list, Options{Tags: []string{"latest"}})
			if err == nil || !strings.Contains(err.Error(), name) || fault.KindOf(err) != fault.Failed {
				t.Errorf("%s %s: %v", name, how, err)
			}
			if _, err := l.Resolve(t.Context(), "latest"); err == nil {
				t.Errorf("%s %s: there is a snapshot", name, how)
			}
		}
	}
}

// TestScanWhileFoldersVanish: what vanishes while it is looked for is left out.
func TestScanWhileFoldersVanish(t *testing.T) {
	dir := t.TempDir()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755)
				_ = os.WriteFile(filepath.Join(dir, "a/b/c/d"), nil, 0o644)
				_ = os.RemoveAll(filepath.Join(dir, "a"))
			}
		}
	}()
	for range 2000 {
		if _, err := Scan(t.Context(), dir, ScanOptions{}); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	<-done
}

// TestScanThroughLink: a root that is a link is the folder it leads to, and not an empty state.
func TestScanThroughLink(t *testing.T) {
	dir := mind(t)
	to := filepath.Join(t.TempDir(), "link")
	fatal(t, os.Symlink(dir, to))
	a, err := Scan(t.Context(), dir, ScanOptions{})
	fatal(t, err)
	b, err := Scan(t.Context(), to, ScanOptions{})
	fatal(t, err)
	if len(a) == 0 || len(a) != len(b) {
		t.Errorf("%d entries, through a link %d", len(a), len(b))
	}
	for _, no := range []string{filepath.Join(dir, "boot/startup.txt"), filepath.Join(dir, "nothing")} {
		if _, err := Scan(t.Context(), no, ScanOptions{}); fault.KindOf(err) != fault.Input {
			t.Error(err)
		}
	}
}

// TestSameBytesInBothLanes: a model's manifest names its pieces as blobs, also those that another file has in a pack.
func TestSameBytesInBothLanes(t *testing.T) {
	dir := t.TempDir()
	same := string(noise(1, 100<<10))
	write(t, dir, map[string]string{"models/m/config.json": same, "models/m/w.bin": string(noise(2, 300<<10)), "memory/z": same, "docker/a": same})
	var first *Captured
	for range 5 {
		l := layout(t)
		c := capturedFrom(t, l, dir, Options{})
		if complete(t, l); first == nil {
			first = c
		}
		if c.Index.Digest != first.Index.Digest {
			t.Fatal("which lane was faster decides the digest")
		}
	}
	// What moves from one lane to the other is stored there.
	l := layout(t)
	parent := snapshot(t, l, capturedFrom(t, l, dir, Options{}))
	fatal(t, os.Rename(filepath.Join(dir, "models/m/w.bin"), filepath.Join(dir, "memory/w.bin")))
	fatal(t, os.RemoveAll(filepath.Join(dir, "models")))
	moved := snapshot(t, l, capturedFrom(t, l, dir, Options{Parent: parent}))
	_, err := moved.Verify(t.Context(), l, nil)
	fatal(t, err)
	write(t, dir, map[string]string{"models/back.bin": same})
	back := snapshot(t, l, capturedFrom(t, l, dir, Options{Parent: moved}))
	_, err = back.Verify(t.Context(), l, nil)
	fatal(t, err)
	complete(t, l)
}

// TestCapturesAtOnce: two captures into a layout do each other no harm.
func TestCapturesAtOnce(t *testing.T) {
	dir, store := mind(t), filepath.Join(t.TempDir(), "layout")
	var wg sync.WaitGroup
	for _, tag := range []string{"a", "b", "c"} {
		wg.Go(func() {
			l, err := artifact.CreateLayout(store)
			if err != nil {
				t.Error(err)
				return
			}
			list, err := Scan(t.Context(), dir, ScanOptions{})
			if err == nil {
				_, err = Capture(t.Context(), l, list, Options{Info: Info{Created: time.Unix(1e9, 0)}, Tags: []string{tag, Latest}})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	whole(t, store, "a", "b", "c", Latest)
}

// TestCaptureBesidePrune: nothing that a snapshot needs is swept away, whether it is there or in the making.
func TestCaptureBesidePrune(t *testing.T) {
	dir, store := mind(t), filepath.Join(t.TempDir(), "layout")
	l, err := artifact.CreateLayout(store)
	fatal(t, err)
	capturedFrom(t, l, dir, Options{Tags: []string{Latest}})
	stop, done := make(chan struct{}), make(chan struct{})
	swept := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			own, err := artifact.OpenLayout(store)
			var list []Listed
			if err == nil {
				list, err = List(t.Context(), own)
			}
			keep, drop := Keep{Last: 1}.Divide(list)
			if err == nil {
				_, err = Remove(t.Context(), own, drop, keep)
			}
			if err != nil {
				t.Error(err)
				return
			}
			swept++
			time.Sleep(time.Millisecond)
		}
	}()
	for i := range 12 {
		unlock, err := l.Use(t.Context())
		fatal(t, err)
		parent, err := Open(t.Context(), l, Latest, nil)
		fatal(t, err)
		write(t, dir, map[string]string{"memory/notes.jsonl": string(noise(uint64(i), 300<<10)), "models/raw.bin": string(noise(uint64(i+100), 300<<10))})
		at := time.Unix(1e9+int64(i+1)*60, 0)
		c := capturedFrom(t, l, dir, Options{Parent: parent, Tags: []string{TimeTag(at), Latest}, Info: Info{Created: at}})
		if _, err := snapshot(t, l, c).Verify(t.Context(), l, nil); err != nil {
			t.Fatal(err)
		}
		unlock()
		time.Sleep(60 * time.Millisecond)
	}
	close(stop)
	<-done
	whole(t, store, Latest)
	t.Logf("pruned %d times meanwhile", swept)
}
