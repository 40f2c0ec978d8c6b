package rootfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/tool"
)

const policyRCD = "usr/sbin/policy-rc.d"

// configure runs every preinst and then dpkg's configuration of all packages, with services kept from starting and
// the calls of deferred programs noted for finish.
func configure(ctx context.Context, r *root, c *chroot, debs []*deb, p progress.Func) error {
	if err := r.writeFile(policyRCD, []byte("#!/bin/sh\nexit 101\n"), 0o755, c.epoch); err != nil {
		return err
	}
	undo, err := deferCalls(r, c.epoch)
	if err != nil {
		return err
	}
	p.Step(stage, "preinst")
	if err := withAwk(r, func() error { return preinsts(ctx, r, c, debs) }); err != nil {
		return err
	}
	if err := dpkgConfigure(ctx, c, len(debs), p); err != nil {
		return err
	}
	if err := r.removeAll(policyRCD); err != nil {
		return err
	}
	return undo()
}

// dpkgConfigure configures all packages in one run of dpkg, which finds the order.
func dpkgConfigure(ctx context.Context, c *chroot, total int, p progress.Func) error {
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("configure packages: %w", err)
	}
	defer statusR.Close()
	var out scriptLog
	cmd := c.command(&out, "/usr/bin/dpkg", "--configure", "-a", "--force-unsafe-io", "--force-confold", "--status-fd", "3")
	cmd.Files = []*os.File{statusW}
	run, err := tool.Start(ctx, cmd)
	statusW.Close()
	if err != nil {
		return fmt.Errorf("configure packages: %w", err)
	}
	failed := watchStatus(statusR, total, p)
	if err := run.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return out.failure(failed, err)
	}
	return nil
}

// watchStatus reads dpkg's status lines (dpkg(1), --status-fd) and returns the packages that failed.
func watchStatus(r io.Reader, total int, p progress.Func) (failed []string) {
	done := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.SplitN(lines.Text(), ":", 3)
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(f) < 3 {
			continue
		}
		switch {
		case f[0] == "processing":
			p.Send(progress.Event{Stage: stage, Item: f[1] + " " + f[2], Done: int64(done), Total: int64(total)})
		case f[0] == "status" && strings.HasSuffix(lines.Text(), ": installed"):
			done = min(done+1, total)
		case f[0] == "status" && strings.Contains(f[2], "error :"):
			failed = append(failed, f[1])
		}
	}
	return failed
}

// scriptLog keeps the last output of dpkg and the scripts it runs.
type scriptLog struct {
	mu   sync.Mutex
	text []byte
}

func (l *scriptLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if n := len(l.text) - 64<<10; n > 0 {
		l.text = append(l.text[:0], l.text[n:]...)
	}
	return len(b), nil
}

// failure names the first package whose script failed and shows what the script said last.
func (l *scriptLog) failure(failed []string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text)
	if len(failed) > 0 {
		name, _, _ := strings.Cut(failed[0], " ")
		if i := strings.LastIndex(text, "Setting up "+strings.Split(name, ":")[0]+" "); i >= 0 {
			text = text[i:]
			if i = strings.Index(text, "\ndpkg: error"); i >= 0 {
				text = text[:i]
			}
		}
		return fmt.Errorf("configure package %s: %w; it said:\n%s", name, err, lastLines(text, 20))
	}
	return fmt.Errorf("configure packages: %w; dpkg said:\n%s", err, lastLines(text, 20))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
