// Package chroma runs a real Chroma server in tests, and asks it. Only tests import it.
package chroma

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/referee"
)

const packaged = "testdata/chroma/" // package.json with its lock, in the repository

// program returns the start of Chroma, which npm installs once per lock file into the user's cache.
func program(t testing.TB) string {
	t.Helper()
	referee.Need(t, "node", "npm")
	from, err := find()
	fatal(t, err)
	lock, err := os.ReadFile(from + "package-lock.json")
	fatal(t, err)
	cache, err := os.UserCacheDir()
	fatal(t, err)
	dir := filepath.Join(cache, "agibake-test", fmt.Sprintf("chroma-%.6x", sha256.Sum256(lock)))
	fatal(t, os.MkdirAll(dir, 0o755))
	one, err := os.Open(dir)
	fatal(t, err)
	defer one.Close()
	fatal(t, unix.Flock(int(one.Fd()), unix.LOCK_EX)) // tests of other packages want it, too
	if _, err := os.Stat(dir + "/complete"); errors.Is(err, fs.ErrNotExist) {
		install(t, from, dir)
	}
	return dir + "/node_modules/chromadb/dist/cli.mjs"
}

func install(t testing.TB, from, dir string) {
	t.Helper()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(from + name)
		fatal(t, err)
		fatal(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	c := referee.Command(t, "npm", "ci", "--no-audit", "--no-fund")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	fatal(t, os.WriteFile(dir+"/complete", nil, 0o644))
}

// find finds the package in the repository, above the test's own folder.
func find() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && len(dir) > 1; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir + "/" + packaged + "package-lock.json"); err == nil {
			return dir + "/" + packaged, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", packaged, fs.ErrNotExist)
}

// Server is a running Chroma.
type Server struct {
	URL     string // http://127.0.0.1:PORT
	command *exec.Cmd
}

// Serve starts a server for the database in the folder dir, which may be empty. It ends with the test.
func Serve(t testing.TB, dir string) *Server {
	t.Helper()
	port := referee.Port(t)
	c := referee.Command(t, "node", program(t), "run", "--path", dir, "--host", "127.0.0.1", "--port", port)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s := &Server{"http://127.0.0.1:" + port, c}
	referee.Serve(t, c, s.URL+"/api/v2/heartbeat")
	return s
}

// PID is the server's process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop ends the server as a power cut does.
func (s *Server) Stop() {
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
