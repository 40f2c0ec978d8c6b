package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/fault"
)

// Load reads the record of the machine in dir.
func Load(dir string) (*Record, error) {
	data, err := os.ReadFile(recordPath(dir))
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("machine %s: %w", filepath.Base(dir), err))
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("machine %s: %w", filepath.Base(dir), err)
	}
	return &r, nil
}

// Running reports whether the recorded process is still that machine.
func (r *Record) Running() bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.Pid))
	return err == nil && strings.Contains(string(line), "agibake-"+r.Name+"\x00")
}

// StopRecorded ends the machine in dir: by its power button, and by force after grace.
func StopRecorded(ctx context.Context, dir string, grace time.Duration) error {
	r, err := Load(dir)
	if err != nil {
		return err
	}
	if !r.Running() {
		return nil
	}
	if powerdown(dir) == nil && r.gone(ctx, grace) {
		return nil
	}
	if err := syscall.Kill(r.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop machine %s: %w", r.Name, err)
	}
	if !r.gone(ctx, 5*time.Second) {
		return fmt.Errorf("stop machine %s: process %d does not end", r.Name, r.Pid)
	}
	return nil
}

func (r *Record) gone(ctx context.Context, wait time.Duration) bool {
	for end := time.Now().Add(wait); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if !r.Running() {
			return true
		}
	}
	return !r.Running()
}

// powerdown presses the power button through QMP (qemu-qmp-ref, system_powerdown).
func powerdown(dir string) error {
	c, err := net.DialTimeout("unix", filepath.Join(dir, "qmp.sock"), 2*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	answers := bufio.NewReader(c)
	for _, command := range []string{"", "qmp_capabilities", "system_powerdown"} {
		if command != "" {
			if _, err := fmt.Fprintf(c, `{"execute":%q}`+"\n", command); err != nil {
				return err
			}
		}
		if _, err := answers.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}
