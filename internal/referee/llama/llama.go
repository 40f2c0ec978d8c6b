// Package llama runs the real llama.cpp in tests, makes states for it, and changes models as accidents do. Only tests
// import it.
package llama

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// Tree is a tree of Debian's testing suite with llama.cpp in it. Its programs run with their own libc.
type Tree struct{ dir string }

// Need makes the tree where it is not there yet: Debian 12 has no llama.cpp of its own.
func Need(t testing.TB) Tree {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "agibake-test", "llama")
	if exists(dir + "/usr/bin/llama-server") {
		return Tree{dir}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "llama.partial-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(partial)
	// The suite moves, and its mirrors may be past their date.
	referee.Run(t, "mmdebstrap", "--variant=extract", "--include=llama.cpp-tools", `--aptopt=Acquire::Check-Valid-Until "false"`, "testing", partial+"/tree")
	if err := os.Rename(partial+"/tree", dir); err != nil && !exists(dir) {
		t.Fatal(err)
	}
	return Tree{dir}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// llama.cpp's builds for processors: one that every amd64 has, and one for most of today's.
const (
	Plain = "x64"
	AVX2  = "haswell"
)

func (l Tree) command(ctx context.Context, backend, program string, args ...string) *exec.Cmd {
	lib := l.dir + "/usr/lib/x86_64-linux-gnu"
	args = append([]string{"--library-path", lib + ":" + lib + "/llama", l.dir + "/usr/bin/" + program}, args...)
	c := exec.CommandContext(ctx, l.dir+"/usr/lib64/ld-linux-x86-64.so.2", args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "GGML_BACKEND_PATH="+lib+"/ggml/backends0/libggml-cpu-"+backend+".so")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// Serve starts a server for a state's model, as recipes/demo.yaml does, and returns its address.
func (l Tree) Serve(t testing.TB, backend, root string) string {
	t.Helper()
	url := "http://127.0.0.1:" + referee.Port(t)
	c := l.command(t.Context(), backend, "llama-server", "--model", root+"/"+model, "--host", "127.0.0.1", "--port", url[len("http://127.0.0.1:"):],
		"--ctx-size", "2048", "--parallel", "1", "--threads", "1", "--predict", "128", "--cache-ram", "0", "--offline", "--no-ui")
	referee.Serve(t, c, url+"/health")
	return url
}
