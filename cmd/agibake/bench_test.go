package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/tool"
)

// bench is one run of the benchmark, or a part of it.
type bench struct {
	*testing.T
	dir  string // scratch, removed at the end
	keep string // downloads and the other builders, kept between runs
	bin  string // agibake
	env  []string
	runs int
	size int64 // of the large model, in bytes
	page *page
}

// benchParts are the sections of the page.
var benchParts = []struct {
	name string
	run  func(*bench)
}{
	{"bake", (*bench).bake}, {"peers", (*bench).peers}, {"formats", (*bench).formats}, {"ext4", (*bench).ext4},
	{"model", (*bench).model}, {"boot", (*bench).boot}, {"registry", (*bench).registry}, {"state", (*bench).state},
}

// TestBench measures a bake beside what others offer for its parts, and writes the page that AGIBAKE_BENCH names. It
// fails on errors, never for a time. Further settings:
//
//	AGIBAKE_BENCH_RUNS   runs of what is quick; 3
//	AGIBAKE_BENCH_MODEL  GiB of the large model; 20
//	AGIBAKE_BENCH_REGISTRY  GiB of the disk that is pushed and pulled; 5
//	AGIBAKE_BENCH_PARTS  the parts to measure, of bake,peers,formats,ext4,model,boot,registry,state; all
//	AGIBAKE_BENCH_STATE  MiB of the weights in the state that is captured; 2048
//	AGIBAKE_BENCH_LARGE  1: capture ten times as much too, for the memory it takes; 0 if there is one run, else 1
//	AGIBAKE_BENCH_WORK   folder for downloads (kept) and scratch files; agibake-bench in the user's cache folder
func TestBench(t *testing.T) {
	path := os.Getenv("AGIBAKE_BENCH")
	if path == "" {
		t.Skip("SKIPPED: measures for twenty minutes; set AGIBAKE_BENCH=docs/benchmarks.md")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join("..", "..", path)
	}
	b := newBench(t)
	parts := strings.FieldsFunc(os.Getenv("AGIBAKE_BENCH_PARTS"), func(r rune) bool { return r == ',' || r == ' ' })
	for _, part := range benchParts {
		if len(parts) > 0 && !slices.Contains(parts, part.name) {
			continue
		}
		t.Run(part.name, func(t *testing.T) {
			b := *b
			b.T = t
			part.run(&b)
		})
	}
	text := b.page.render(b.machine())
	t.Log("\n" + text)
	if t.Failed() {
		return // the page stands as it was
	}
	if err := atomicfile.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, keep: os.Getenv("AGIBAKE_BENCH_WORK"), runs: int(setting(t, "AGIBAKE_BENCH_RUNS", 3)),
		size: setting(t, "AGIBAKE_BENCH_MODEL", 20) << 30, page: &page{}}
	if b.keep == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		b.keep = filepath.Join(dir, "agibake-bench")
	}
	b.dir = filepath.Join(b.keep, "scratch")
	b.remove(b.dir)
	t.Cleanup(func() { os.RemoveAll(b.dir) })
	b.mkdir(b.dir, b.keep+"/cache")
	b.env = append(os.Environ(), "XDG_CACHE_HOME="+b.keep+"/cache", "XDG_STATE_HOME="+b.dir+"/state")
	b.bin = b.dir + "/bin/agibake"
	for _, name := range []string{"agibake", "agid"} {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(b.dir, "bin", name), "../"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return b
}

// setting is a number from the environment.
func setting(t *testing.T, name string, other int64) int64 {
	text := os.Getenv(name)
	if text == "" {
		return other
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 || n == 0 && name == "AGIBAKE_BENCH_RUNS" {
		t.Fatalf("%s=%q is no number to work with", name, text)
	}
	return n
}

// must ends the part on an error.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) mkdir(dirs ...string) {
	b.Helper()
	for _, dir := range dirs {
		b.must(os.MkdirAll(dir, 0o755))
	}
}

func (b *bench) remove(paths ...string) {
	b.Helper()
	for _, path := range paths {
		b.must(os.RemoveAll(path))
	}
}

func (b *bench) fileSize(path string) int64 {
	b.Helper()
	info, err := os.Stat(path)
	b.must(err)
	return info.Size()
}

// free is the room on the scratch folder's file system, in bytes.
func (b *bench) free() int64 {
	var s unix.Statfs_t
	b.must(unix.Statfs(b.dir, &s))
	return int64(s.Bavail) * s.Bsize
}

// find returns the path of a program, or nothing.
func find(name string) string {
	path, _ := tool.Look(name)
	return path
}
