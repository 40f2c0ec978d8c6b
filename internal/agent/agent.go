// Package agent is what runs inside the appliance: it prepares state and identity at boot, tests its own machine, and
// shows how it is.
package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

// System is the machine the agent runs on. Tests give it a folder for root and a fake Run.
type System struct {
	Root string                                      // "/" on a real machine
	Run  func(ctx context.Context, c tool.Cmd) error // runs a program
	Warn func(format string, args ...any)            // tells of what did not work and does not stop the work

	Patience time.Duration // how long the state partition may take to show up
}

// NewSystem returns the real machine.
func NewSystem() *System {
	return &System{Root: "/", Run: tool.Run, Patience: stateWait, Warn: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}}
}

// LoadConfig reads wire.ConfigPath.
func (s *System) LoadConfig() (wire.Config, error) {
	var c wire.Config
	data, err := os.ReadFile(s.path(wire.ConfigPath))
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read %s: %w", wire.ConfigPath, err)
	}
	return c, nil
}

func (s *System) path(name string) string { return filepath.Join(s.Root, name) }

// state returns a path in the state tree.
func (s *System) state(name string) string { return s.path(wire.StateRoot + "/" + name) }

// word returns the trimmed content of a small file, "" where there is none.
func (s *System) word(name string) string {
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		return ""
	}
	return strings.Trim(string(data), " \t\r\n\x00")
}

func (s *System) exists(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// run runs a program for its effect.
func (s *System) run(ctx context.Context, name string, args ...string) error {
	return s.Run(ctx, tool.Cmd{Name: name, Args: args})
}

// output runs a program for what it prints.
func (s *System) output(ctx context.Context, name string, args ...string) (string, error) {
	var out bytes.Buffer
	err := s.Run(ctx, tool.Cmd{Name: name, Args: args, Stdout: &out})
	return strings.TrimSpace(out.String()), err
}

// firmware says how the machine was started: bios, uefi or secureboot.
func (s *System) firmware() string {
	if !s.exists("/sys/firmware/efi") {
		return "bios"
	}
	// Four bytes of attributes, then the value (Linux, efivarfs).
	data, err := os.ReadFile(s.path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	if err == nil && len(data) == 5 && data[4] == 1 {
		return "secureboot"
	}
	return "uefi"
}
