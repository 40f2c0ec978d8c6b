package state

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/registry"
)

// child is what the killed program does.
func child(verb string, args []string) error {
	ctx := context.Background()
	switch verb {
	case "capture": // FOLDER LAYOUT MEMOS
		l, err := artifact.CreateLayout(args[1])
		if err != nil {
			return err
		}
		_, err = captureOnto(ctx, l, args[0], args[2])
		return err
	case "restore": // LAYOUT FOLDER
		l, err := artifact.OpenLayout(args[0])
		if err != nil {
			return err
		}
		x, err := Open(ctx, l, "next", nil)
		if err != nil {
			return err
		}
		r, err := x.Restore(ctx, l, x.Staging(args[1]), RestoreOptions{})
		if err != nil {
			return err
		}
		fmt.Printf("kept %d\n", r.Kept)
		_, err = Switch(x.Staging(args[1]), args[1], time.Now())
		return err
	case "undo": // FOLDER
		_, err := Undo(args[0])
		return err
	case "place": // STAGING FOLDER PATH…
		_, err := Place(args[0], args[1], args[2:], time.Now())
		return err
	case "push", "pull": // LAYOUT REFERENCE UPLOADS
		l, err := artifact.CreateLayout(args[0])
		if err != nil {
			return err
		}
		return transfer(ctx, verb, l, args[1], args[2])
	case "measured":
		return measured(ctx, args)
	}
	return errors.New("no such verb")
}

// captureOnto captures over the snapshot "base", if it is there.
func captureOnto(ctx context.Context, l *artifact.Layout, dir, memos string) (*Captured, error) {
	o := Options{Info: Info{Created: time.Unix(1e9+60, 0)}, Tags: []string{"next", Latest}}
	var err error
	if o.Parent, err = Open(ctx, l, "base", nil); err != nil && !errors.Is(err, artifact.ErrNotFound) {
		return nil, err
	}
	if o.Memo, err = OpenMemo(memos, dir); err != nil {
		return nil, err
	}
	list, err := Scan(ctx, dir, ScanOptions{})
	if err != nil {
		return nil, err
	}
	return Capture(ctx, l, list, o)
}

func transfer(ctx context.Context, verb string, l *artifact.Layout, ref, uploads string) error {
	repo, err := registry.Open(ctx, ref, registry.Options{State: uploads, Chunk: 1 << 20, Pause: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	if verb == "pull" {
		d, err := repo.Resolve(ctx, repo.Reference())
		if err == nil {
			_, err = registry.Pull(ctx, repo, d, l, registry.PullOptions{Tag: "next"}, nil)
		}
		return err
	}
	d, err := l.Resolve(ctx, "next")
	if err == nil {
		_, err = registry.Push(ctx, l, d, repo, registry.PushOptions{}, nil)
	}
	return err
}

func command(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"child"}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// undisturbed runs the child to its end and says how long that took.
func undisturbed(t testing.TB, args ...string) (out string, took time.Duration) {
	t.Helper()
	start := time.Now()
	data, err := command(t, args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(data), time.Since(start)
}

// killedAt runs the child and ends it with SIGKILL after a time. done tells that it came to its end before.
func killedAt(t testing.TB, after time.Duration, args ...string) (done bool) {
	t.Helper()
	cmd := command(t, args...)
	fatal(t, cmd.Start())
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if stopped := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &stopped) || stopped.ExitCode() >= 0) {
		t.Fatalf("%v: %v", args, err)
	}
	return err == nil
}

// moments are random, one in each of as many parts of the time that it takes.
func moments(took time.Duration, kills int) (list []time.Duration) {
	for i := range kills {
		list = append(list, time.Duration((float64(i)+rand.Float64())/float64(kills)*float64(took)))
	}
	rand.Shuffle(kills, func(i, k int) { list[i], list[k] = list[k], list[i] })
	return list
}

// whole holds that no blob is half, and that every snapshot that is listed can be read back.
func whole(t testing.TB, dir string, tags ...string) {
	t.Helper()
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	fatal(t, err)
	for _, b := range blobs {
		if strings.HasPrefix(b.Name(), ".") { // in the making
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", b.Name()))
		fatal(t, err)
		if fmt.Sprintf("%x", sha256.Sum256(data)) != b.Name() {
			t.Fatalf("blob %s is half", b.Name())
		}
	}
	l, err := artifact.OpenLayout(dir)
	fatal(t, err)
	list, err := List(t.Context(), l)
	fatal(t, err)
	for _, s := range list {
		x, err := Open(t.Context(), l, s.Digest.String(), nil)
		fatal(t, err)
		if _, err := x.Verify(t.Context(), l, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, tag := range tags {
		_, err := l.Resolve(t.Context(), tag)
		fatal(t, err)
	}
}

// killable is a state that takes a moment, captured as "base", and then changed.
func killable(t testing.TB, size int) (dir, store string) {
	dir, store = mind(t), filepath.Join(t.TempDir(), "layout")
	write(t, dir, map[string]string{"models/large.bin": string(noise(3, size)), "memory/large.dat": string(noise(4, size/4))})
	l, err := artifact.CreateLayout(store)
	fatal(t, err)
	capturedFrom(t, l, dir, Options{Tags: []string{"base"}})
	write(t, dir, map[string]string{"models/another.bin": string(noise(5, size)), "memory/another.dat": string(noise(6, size/4)), "boot/startup.txt": "Кто я?"})
	return dir, store
}

// copied is a copy of a folder.
func copied(t testing.TB, dir string) string {
	to := filepath.Join(t.TempDir(), "copy")
	fatal(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

func resolved(t testing.TB, dir, tag string) v1.Descriptor {
	t.Helper()
	l, err := artifact.OpenLayout(dir)
	fatal(t, err)
	d, err := l.Resolve(t.Context(), tag)
	fatal(t, err)
	return d
}

// TestCaptureKilled: a capture that was killed leaves a good layout, and the next one ends as if nothing had been.
func TestCaptureKilled(t *testing.T) { captureKilled(t, 4, 8<<20) }

func TestE2ECaptureKilled(t *testing.T) {
	referee.E2E(t)
	captureKilled(t, 20, 60<<20)
}

func captureKilled(t *testing.T, kills, size int) {
	dir, store := killable(t, size)
	clean, memos := copied(t, store), t.TempDir()
	_, took := undisturbed(t, "capture", dir, clean, t.TempDir())
	cut := 0
	for _, after := range moments(took, kills) {
		if !killedAt(t, after, "capture", dir, store, memos) {
			cut++
		}
		whole(t, store, "base")
	}
	undisturbed(t, "capture", dir, store, memos)
	whole(t, store, "base", "next", Latest)
	if got, want := resolved(t, store, "next").Digest, resolved(t, clean, "next").Digest; got != want {
		t.Errorf("%s, undisturbed %s", got, want)
	}
	l, err := artifact.OpenLayout(store)
	fatal(t, err)
	_, err = l.Sweep(t.Context())
	fatal(t, err)
	whole(t, store, "base", "next")
	if got, want := names(t, store), names(t, clean); got != want {
		t.Errorf("left behind after a sweep:\n%s\nundisturbed:\n%s", got, want)
	}
	t.Logf("%d of %d were cut; one takes %v", cut, kills, took)
	if cut < kills/4 {
		t.Error("hardly any was cut")
	}
}

func names(t testing.TB, store string) string {
	list, err := filepath.Glob(filepath.Join(store, "blobs", "sha256", "*"))
	fatal(t, err)
	hidden, err := filepath.Glob(filepath.Join(store, "blobs", "sha256", ".*"))
	fatal(t, err)
	return strings.ReplaceAll(strings.Join(append(list, hidden...), "\n"), store, "")
}
