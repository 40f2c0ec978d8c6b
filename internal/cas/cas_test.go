package cas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "cache [1]")) // a name with glob characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sum(b string) string {
	h := sha256.Sum256([]byte(b))
	return hex.EncodeToString(h[:])
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestPutVerifies(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	for _, c := range []struct {
		name, text, want string
		size             int64
		kind             fault.Kind
	}{
		{"unknown", "one", "", -1, 0},
		{"all known", "two", sum("two"), 3, 0},
		{"empty", "", sum(""), 0, 0},
		{"wrong digest", "three", sum("four"), -1, fault.Untrusted},
		{"too long", "fivefive", sum("fivefive"), 4, fault.Untrusted},
		{"too short", "six", sum("six"), 4, fault.Untrusted},
	} {
		got, n, err := s.Put(ctx, strings.NewReader(c.text), c.want, c.size, nil)
		if fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.name, err)
		}
		if ok := s.Has(sum(c.text), int64(len(c.text))); ok != (c.kind == 0) {
			t.Errorf("%s: Has is %v", c.name, ok)
		}
		if c.kind == 0 && (got != sum(c.text) || n != int64(len(c.text))) {
			t.Errorf("%s: %s %d", c.name, got, n)
		}
	}
	if left := names(t, filepath.Join(s.dir, "partial")); len(left) != 0 {
		t.Errorf("left in partial: %v", left)
	}
	if s.Has(sum("two"), 4) {
		t.Error("Has ignores the size")
	}
	b, err := os.ReadFile(s.Path("sha256:" + sum("two")))
	if err != nil || string(b) != "two" {
		t.Errorf("%q %v", b, err)
	}
}

func TestHostileDigestStaysInside(t *testing.T) {
	s := open(t)
	for _, d := range []string{"", "../../../etc/passwd", "sha256:../x", strings.Repeat("A", 64)} {
		if p := s.Path(d); !strings.HasPrefix(p, s.dir+"/blobs/sha256/") || s.Has(d, -1) {
			t.Errorf("%q: %s", d, p)
		}
	}
}

func TestPartialGoesOn(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	text := strings.Repeat("0123456789", 1000)
	p, err := s.Partial(ctx, sum(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(p, text[:777])
	if err := p.SetValidator(`"v1"`); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p, err = s.Partial(ctx, sum(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Size() != 777 || p.Validator() != `"v1"` {
		t.Fatalf("%d bytes, validator %s", p.Size(), p.Validator())
	}
	if _, err := io.WriteString(p, text[777:]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "more"); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("past the limit: %v", err)
	}
	if _, err := p.Commit(sum(text)); err != nil || !s.Has(sum(text), int64(len(text))) {
		t.Fatal(err)
	}
	if left := names(t, filepath.Join(s.dir, "partial")); len(left) != 0 {
		t.Errorf("left in partial: %v", left)
	}
}

func TestPartialDropsWrongContent(t *testing.T) {
	s := open(t)
	p, err := s.Partial(context.Background(), sum("right"), 5)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(p, "wrong")
	_, err = p.Commit(sum("right"))
	if wrong := (*DigestError)(nil); !errors.As(err, &wrong) || wrong.Got != sum("wrong") || fault.KindOf(err) != fault.Untrusted {
		t.Fatal(err)
	}
	p.Close()
	if left := names(t, filepath.Join(s.dir, "partial")); len(left) != 0 || s.Has(sum("right"), -1) || s.Has(sum("wrong"), -1) {
		t.Errorf("left: %v", left)
	}
}

// TestPartialHasOneWriter lets many want the same blob at once: one writes, the others find it done.
func TestPartialHasOneWriter(t *testing.T) {
	s := open(t)
	var wrote atomic.Int32
	var g sync.WaitGroup
	for range 16 {
		g.Go(func() {
			p, err := s.Partial(context.Background(), sum("shared"), 6)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if s.Has(sum("shared"), 6) {
				return
			}
			wrote.Add(1)
			io.WriteString(p, "shared")
			time.Sleep(5 * time.Millisecond)
			if _, err := p.Commit(sum("shared")); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if wrote.Load() != 1 {
		t.Errorf("%d wrote", wrote.Load())
	}
	if left := names(t, filepath.Join(s.dir, "partial")); len(left) != 0 {
		t.Errorf("left in partial: %v", left)
	}
}

func TestPartialWaitEndsWithContext(t *testing.T) {
	s := open(t)
	p, err := s.Partial(context.Background(), sum("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Partial(ctx, sum("x"), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// old makes a file that changed long enough ago for its stat values to vouch for it.
func old(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte("m"), size), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestImport(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "f")
	old(t, file, 1000)
	digest, size, err := s.Import(ctx, file, nil)
	if err != nil || size != 1000 || !s.Has(digest, 1000) {
		t.Fatal(digest, size, err)
	}
	os.WriteFile(file, []byte("changed"), 0o644)
	if !s.Has(digest, 1000) {
		t.Error("a change of the file changed the store")
	}
	if again, size, err := s.Import(ctx, file, nil); err != nil || again != sum("changed") || size != 7 {
		t.Error(again, size, err)
	}
	if _, _, err := s.Import(ctx, filepath.Dir(file), nil); fault.KindOf(err) != fault.Input {
		t.Errorf("a folder: %v", err)
	}
}

// TestImportRemembers reads a file once, and once more when it changed.
func TestImportRemembers(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "f")
	old(t, file, 100)
	time.Sleep(settled + 50*time.Millisecond)
	reads := func() (n int64) {
		if _, _, err := s.Import(ctx, file, func(done int64) { n = done }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if a, b := reads(), reads(); a != 100 || b != 0 {
		t.Errorf("read %d, then %d bytes", a, b)
	}
	info, _ := os.Stat(file)
	os.WriteFile(file, bytes.Repeat([]byte("n"), 100), 0o644)
	os.Chtimes(file, info.ModTime(), info.ModTime()) // same size and mtime: ctime tells
	if n := reads(); n != 100 {
		t.Errorf("read %d bytes of a changed file", n)
	}
}

func TestLargeFilesStayWhereTheyAre(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "weights")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, referenceSize); err != nil {
		t.Fatal(err)
	}
	digest, size, err := s.Import(ctx, file, nil)
	if err != nil || size != referenceSize || !s.Has(digest, size) {
		t.Fatal(digest, size, err)
	}
	if _, err := os.Lstat(s.blob(digest)); err == nil {
		t.Skip("this file system shares blocks")
	}
	if s.Path(digest) != file {
		t.Errorf("path %s", s.Path(digest))
	}
	f, err := s.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(file, []byte("other"), 0o644)
	if err := f.Close(); fault.KindOf(err) != fault.Untrusted {
		t.Error("a file that changed under its reader goes unnoticed")
	}
	if s.Has(digest, size) || s.Path(digest) == file {
		t.Error("the reference outlives the content")
	}
}

func TestStage(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	builds := 0
	build := func(dir string) error {
		builds++
		return os.WriteFile(filepath.Join(dir, "out"), []byte("x"), 0o644)
	}
	for range 2 {
		dir, err := s.PutStage(ctx, "rootfs", "k1", build)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(b) != "x" {
			t.Fatal(err)
		}
	}
	if builds != 1 {
		t.Errorf("built %d times", builds)
	}
	_, err := s.PutStage(ctx, "rootfs", "k2", func(dir string) error {
		os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
		return errors.New("no")
	})
	if _, ok := s.Stage("rootfs", "k2"); err == nil || ok {
		t.Error("a failed stage stands")
	}
	for _, key := range []string{"", "..", "a/b", "a.partial-1"} {
		if _, err := s.PutStage(ctx, "rootfs", key, build); err == nil {
			t.Errorf("key %q", key)
		}
	}
}

func TestConcurrentStages(t *testing.T) {
	s := open(t)
	var builds atomic.Int32
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			_, err := s.PutStage(context.Background(), "disk", "same", func(dir string) error {
				builds.Add(1)
				time.Sleep(20 * time.Millisecond)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times", builds.Load())
	}
}

// TestKilledBuild kills a process in the middle of a stage and a download; the next run cleans up and goes on.
func TestKilledBuild(t *testing.T) {
	if dir := os.Getenv("CAS_TEST_HANG"); dir != "" {
		hang(dir)
	}
	s := open(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledBuild$")
	cmd.Env = append(os.Environ(), "CAS_TEST_HANG="+s.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(PruneOptions{All: true}); err == nil {
		t.Error("pruned while another process uses the cache")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, ok := s.Stage("rootfs", "k"); ok {
		t.Error("a half stage has a final name")
	}
	if _, err := s.PutStage(context.Background(), "rootfs", "other", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, n := range names(t, filepath.Join(s.dir, "stages/rootfs")) {
		if strings.Contains(n, ".partial-") {
			t.Errorf("left: %s", n)
		}
	}
	s2, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if left := names(t, filepath.Join(s.dir, "partial")); len(left) != 1 || left[0] != sum("whole") {
		t.Errorf("partial: %v", left)
	}
	p, err := s.Partial(context.Background(), sum("whole"), 5)
	if err != nil || p.Size() != 3 {
		t.Fatal(p.Size(), err)
	}
	defer p.Close()
	io.WriteString(p, "le")
	if _, err := p.Commit(sum("whole")); err != nil {
		t.Error(err)
	}
}

func hang(dir string) {
	s, err := Open(dir)
	if err != nil {
		os.Exit(3)
	}
	p, err := s.Partial(context.Background(), sum("whole"), 5)
	if err != nil {
		os.Exit(4)
	}
	io.WriteString(p, "who")
	if _, err := s.temp(context.Background()); err != nil {
		os.Exit(5)
	}
	s.PutStage(context.Background(), "rootfs", "k", func(dir string) error {
		os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
		fmt.Print("ready\n")
		time.Sleep(time.Minute)
		return nil
	})
	os.Exit(6)
}

func TestListAndPrune(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	s.Put(ctx, strings.NewReader("blob"), "", -1, nil)
	s.Put(ctx, strings.NewReader("old blob"), "", -1, nil)
	past := time.Now().Add(-100 * time.Hour)
	os.Chtimes(s.Path(sum("old blob")), past, past)
	if _, err := s.PutStage(ctx, "rootfs", "k", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	count := func() string {
		all, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		n := map[Kind]int{}
		for _, e := range all {
			n[e.Kind]++
		}
		return fmt.Sprint(n)
	}
	for _, step := range []struct {
		o    PruneOptions
		want string
	}{
		{PruneOptions{}, "map[blob:2 stage:1]"},
		{PruneOptions{Before: time.Now().Add(-time.Hour)}, "map[blob:1 stage:1]"},
		{PruneOptions{Stages: true}, "map[blob:1]"},
		{PruneOptions{All: true}, "map[]"},
	} {
		if _, err := s.Prune(step.o); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != step.want {
			t.Errorf("%+v: %s, want %s", step.o, got, step.want)
		}
	}
	if left := names(t, filepath.Join(s.dir, "stages/rootfs")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
