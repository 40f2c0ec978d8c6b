package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/wire"
)

// Result is how a boot ended.
type Result struct {
	Verdict *wire.Verdict `json:"verdict"`
	Seconds float64       `json:"seconds"` // from power-on to the verdict
	Accel   string        `json:"accel"`
	Console []string      `json:"console,omitempty"` // the last lines, when the verdict is not a pass
	Ports   []Forward     `json:"ports,omitempty"`
}

// maxLine bounds one message of the guest: it is not trusted with the host's memory.
const maxLine = 1 << 20

// Verdict waits for the self-test's document. The error has kind CheckFailed when the machine ends or timeout passes
// without one; a failed self-test is no error here.
func (m *Machine) Verdict(ctx context.Context, timeout time.Duration, p progress.Func) (*Result, error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	console := &follower{path: consolePath(m.dir)}
	messages := &follower{path: verdictPath(m.dir)}
	for {
		v, err := scan(messages, console, p)
		if err != nil {
			return nil, err
		}
		if v != nil {
			return m.result(v), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.ended:
			return m.result(nil), fault.Mark(fault.CheckFailed, errors.Join(errors.New("the machine stopped before its self-test"), m.err))
		case <-deadline.C:
			return m.result(nil), fault.Hint(fault.Mark(fault.CheckFailed, fmt.Errorf("no verdict within %s", timeout)),
				"boot --interactive shows the console, --timeout waits longer")
		case <-tick.C:
		}
	}
}

func (m *Machine) result(v *wire.Verdict) *Result {
	r := &Result{Verdict: v, Seconds: time.Since(m.start).Seconds(), Accel: m.Accel, Ports: m.Ports}
	if v == nil || !v.Pass {
		r.Console = m.Console(25)
	}
	return r
}

// scan reads what the guest sent since the last call.
func scan(messages, console *follower, p progress.Func) (*wire.Verdict, error) {
	for _, line := range console.lines() {
		if text := milestone(line); text != "" {
			p.Step("boot", text)
		}
	}
	for _, line := range messages.lines() {
		var msg wire.Message
		if err := json.Unmarshal([]byte(line), &msg); err != nil {
			return nil, fault.Mark(fault.CheckFailed, fmt.Errorf("read the appliance's message: %w", err))
		}
		switch {
		case msg.Type == "verdict" && msg.Verdict != nil:
			return msg.Verdict, nil
		case msg.Text != "":
			p.Step("boot", printable(msg.Text))
		}
	}
	return nil, nil
}

// milestones are the console's lines that tell a person how far a boot is.
var milestones = []struct{ mark, text string }{
	{"GRUB loading", "boot loader"}, {"BdsDxe: starting", "firmware starts the boot loader"}, {"Linux version", "kernel"},
	{"Run /init", "initramfs"}, {"systemd[1]: Detected", "systemd"}, {"login:", "login prompt"},
}

func milestone(line string) string {
	for _, m := range milestones {
		if strings.Contains(line, m.mark) {
			return m.text
		}
	}
	return ""
}

// Console returns the last n lines of the serial console, without control characters.
func (m *Machine) Console(n int) []string {
	f, err := os.Open(consolePath(m.dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	const window = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > window {
		f.Seek(-window, io.SeekEnd)
	}
	var lines []string
	for s := bufio.NewScanner(io.LimitReader(f, window)); s.Scan(); {
		if text := printable(s.Text()); text != "" {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// printable drops terminal sequences and control characters: a guest must not drive the host's terminal.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			for i++; i < len(s) && !(s[i] >= '@' && s[i] <= '~' && s[i] != '['); i++ {
			}
			continue
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, b.String()))
}

// follower returns the lines that are added to a file.
type follower struct {
	path string
	at   int64
	rest []byte
}

func (f *follower) lines() []string {
	file, err := os.Open(f.path)
	if err != nil {
		return nil
	}
	defer file.Close()
	data, _ := io.ReadAll(io.NewSectionReader(file, f.at, maxLine))
	f.at += int64(len(data))
	f.rest = append(f.rest, data...)
	if len(f.rest) > 2*maxLine {
		f.rest = nil
	}
	var lines []string
	for {
		i := bytes.IndexByte(f.rest, '\n')
		if i < 0 {
			return lines
		}
		lines = append(lines, string(f.rest[:i]))
		f.rest = f.rest[i+1:]
	}
}

// Stop ends the machine: by its power button, and by force after grace.
func (m *Machine) Stop(ctx context.Context, grace time.Duration) error {
	if grace > 0 && powerdown(m.dir) == nil {
		select {
		case <-m.ended:
			return nil
		case <-ctx.Done():
		case <-time.After(grace):
		}
	}
	if err := m.proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-m.ended
	return nil
}

// Ended is closed when the guest has powered off.
func (m *Machine) Ended() <-chan struct{} { return m.ended }
