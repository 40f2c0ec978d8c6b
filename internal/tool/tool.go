// Package tool is the only user of os/exec: it finds, runs and reports on foreign programs.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// Cmd describes one run of a foreign program.
type Cmd struct {
	Name   string // looked up in PATH, and in the sbin folders that ordinary users lack there
	Args   []string
	Dir    string
	Env    []string // the whole environment; nil means the caller's
	Stdin  io.Reader
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil keeps the last lines for the error
	Files  []*os.File
	Attr   *syscall.SysProcAttr // nil ends the program with this process, even when that is killed
}

// Process is a started program.
type Process struct {
	cmd  *exec.Cmd
	name string
	tail *tail
}

// Packages names the Debian and Ubuntu package that holds each program that agibake runs.
var Packages = map[string]string{
	"apt-get": "apt", "gpgv": "gpgv", "xz": "xz-utils", "newuidmap": "uidmap", "newgidmap": "uidmap",
	"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "ssh": "openssh-client",
}

// Look finds a program. The error of a missing one has kind Missing and the command that installs it.
func Look(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
			if path, err := exec.LookPath(dir + name); err == nil {
				return path, nil
			}
		}
	}
	err := fault.Mark(fault.Missing, fmt.Errorf("program %s not found", name))
	if p := Packages[name]; p != "" {
		err = fault.Hint(err, "sudo apt-get install "+p)
	}
	return "", err
}

// Start starts c. Cancelling ctx sends SIGTERM, and SIGKILL five seconds later.
func Start(ctx context.Context, c Cmd) (*Process, error) {
	path := c.Name
	if c.Attr == nil || c.Attr.Chroot == "" { // in a chroot the name is a path there
		var err error
		if path, err = Look(c.Name); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.ExtraFiles, cmd.SysProcAttr = c.Dir, c.Env, c.Stdin, c.Stdout, c.Files, c.Attr
	if c.Attr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	p := &Process{cmd: cmd, name: c.Name, tail: &tail{}}
	cmd.Stderr = io.Writer(p.tail)
	if c.Stderr != nil {
		cmd.Stderr = io.MultiWriter(c.Stderr, p.tail)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return p, nil
}

// Wait waits for the program's end. The error of a failed one carries its last lines on stderr.
func (p *Process) Wait() error {
	err := p.cmd.Wait()
	if err == nil {
		return nil
	}
	if text := p.tail.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", p.name, err, text)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// Signal sends s to the program.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Run runs c to its end.
func Run(ctx context.Context, c Cmd) error {
	p, err := Start(ctx, c)
	if err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

// Output runs a program and returns what it wrote to stdout.
func Output(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := Run(ctx, Cmd{Name: name, Args: args, Stdout: &out})
	return out.Bytes(), err
}

// ExitCode returns the exit status in err's chain, or -1.
func ExitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// tail keeps the last 2 KiB written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - 2048; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
