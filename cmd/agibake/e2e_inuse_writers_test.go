package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/referee/chroma"
)

// writer writes things that are numbered from 0, one after another, until it is told to end.
type writer struct {
	name       string
	acked      atomic.Int64 // so many are written for sure
	halt, done chan struct{}
	once       sync.Once
}

// startWriter calls write with the number of the next thing, time and again; it returns how many it wrote. end lets go of
// what it writes to.
func startWriter(t *testing.T, name string, pause time.Duration, write func(i int64) (int64, error), end func()) *writer {
	w := &writer{name: name, halt: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer end()
		for {
			n, err := write(w.acked.Load())
			if t.Context().Err() != nil { // the test failed
				return
			}
			if err != nil {
				t.Errorf("writer of %s: %v", name, err)
				return
			}
			w.acked.Add(n)
			select {
			case <-w.halt:
				return
			case <-time.After(pause):
			}
		}
	}()
	t.Cleanup(func() { w.stop(t) })
	return w
}

// stop ends the writer between two things.
func (w *writer) stop(t *testing.T) {
	w.once.Do(func() { close(w.halt) })
	select {
	case <-w.done:
	case <-time.After(10 * time.Second):
		t.Errorf("the writer of %s stands still", w.name)
	}
}

// alive makes sure that the writer goes on.
func (w *writer) alive(t *testing.T) {
	t.Helper()
	before := w.acked.Load()
	for until := time.Now().Add(10 * time.Second); w.acked.Load() <= before; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the writer of %s stands still after %d", w.name, before)
		}
	}
}

// piped starts a foreign program that lives on what it is told. end waits until it has read all.
func piped(t *testing.T, name string, args ...string) (in io.Writer, out *bufio.Scanner, end func()) {
	t.Helper()
	c := referee.Command(t, name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	w, err := c.StdinPipe()
	fatal(t, err)
	r, err := c.StdoutPipe()
	fatal(t, err)
	fatal(t, c.Start())
	t.Cleanup(func() { kill(c) })
	return w, bufio.NewScanner(r), func() { w.Close(); _ = c.Wait() }
}

func kill(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// addsThoughts adds records to a collection, ten at a time.
func addsThoughts(t *testing.T, to chroma.Collection) *writer {
	return startWriter(t, "Chroma", 60*time.Millisecond, func(i int64) (int64, error) {
		return 10, to.Add(chroma.Numbered("w", int(i), 10)...)
	}, func() {})
}

func logLine(i int64) string {
	return fmt.Sprintf("{\"n\":%d,\"text\":%q}\n", i, strings.Repeat("мысль ", int(i%50)))
}

// appendsLines has another process append lines to a file, each in two halves.
func appendsLines(t *testing.T, path string) *writer {
	in, _, end := piped(t, "sh", "-c", `exec cat >> "$0"`, path)
	size := 0
	write := func(text string) error { // until it is in the file
		size += len(text)
		_, err := io.WriteString(in, text)
		for ; err == nil; time.Sleep(time.Millisecond) {
			if info, e := os.Stat(path); e == nil && info.Size() >= int64(size) {
				break
			}
			err = t.Context().Err()
		}
		return err
	}
	return startWriter(t, path, time.Millisecond, func(i int64) (int64, error) {
		line := logLine(i)
		err := write(line[:len(line)/2])
		if err == nil {
			err = write(line[len(line)/2:])
		}
		return 1, err
	}, end)
}

// commitsRows has SQLite's shell commit rows to a database in WAL mode, whose file itself stays as it is.
func commitsRows(t *testing.T, path string) *writer {
	in, out, end := piped(t, "sqlite3", path)
	tell := func(text string) error {
		if _, err := io.WriteString(in, text); err != nil {
			return err
		}
		if !out.Scan() {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	fatal(t, tell(".output /dev/null\nPRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT);\n.output\nSELECT 'ready';\n"))
	return startWriter(t, path, time.Millisecond, func(i int64) (int64, error) {
		return 1, tell(fmt.Sprintf("INSERT INTO t VALUES (%d, '%s'); SELECT %d;\n", i, strings.Repeat("x", 100+int(i%900)), i))
	}, end)
}
