package vm

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/wire"
)

func TestPrintableDropsTerminalSequences(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m text\r": "red text",
		"a\x07b\x1b]0;title":          "ab0;title",
		"Привет\u0085!":               "Привет!",
		"\x1b":                        "",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestVerdictFromTheGuest(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{dir: dir, ended: make(chan struct{}), start: time.Now()}
	go func() {
		f, _ := os.Create(verdictPath(dir))
		e := json.NewEncoder(f)
		e.Encode(wire.Message{Type: "progress", Text: "docker up\x1b[2J"})
		time.Sleep(100 * time.Millisecond)
		e.Encode(wire.Message{Type: "verdict", Verdict: &wire.Verdict{Pass: true, Answer: "I am here"}})
	}()
	var seen []string
	r, err := m.Verdict(context.Background(), time.Minute, func(e progress.Event) { seen = append(seen, e.Item) })
	if err != nil || !r.Verdict.Pass || r.Verdict.Answer != "I am here" {
		t.Fatalf("verdict %+v, %v", r, err)
	}
	if len(seen) != 1 || seen[0] != "docker up" {
		t.Errorf("progress was %q", seen)
	}
}

func TestNoVerdict(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(consolePath(dir), []byte("one\ntwo\n[    3.1] Kernel panic\n"), 0o600)
	m := &Machine{dir: dir, ended: make(chan struct{}), start: time.Now()}
	r, err := m.Verdict(context.Background(), 80*time.Millisecond, nil)
	if fault.KindOf(err) != fault.CheckFailed || !strings.Contains(strings.Join(r.Console, "\n"), "Kernel panic") {
		t.Errorf("result %+v, error %v", r, err)
	}
	close(m.ended)
	if _, err = m.Verdict(context.Background(), time.Minute, nil); fault.KindOf(err) != fault.CheckFailed {
		t.Errorf("a machine that stopped gives %v", err)
	}
	os.WriteFile(verdictPath(dir), []byte("no json\n"), 0o600)
	if _, err = m.Verdict(context.Background(), time.Minute, nil); fault.KindOf(err) != fault.CheckFailed {
		t.Errorf("a broken message gives %v", err)
	}
}

func TestBackingNeedsADisk(t *testing.T) {
	if _, _, err := backing("notes.txt"); fault.KindOf(err) != fault.Usage {
		t.Errorf("a text file gives %v", err)
	}
	empty := filepath.Join(t.TempDir(), "x.ova")
	os.WriteFile(empty, make([]byte, 1024), 0o600)
	if _, _, err := backing(empty); fault.KindOf(err) != fault.Input {
		t.Errorf("an OVA without a disk gives %v", err)
	}
}

// TestProcessorsOfOldEmulators pretends several versions of QEMU.
func TestProcessorsOfOldEmulators(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, c := range []struct {
		version, accel string
		firmware       Firmware
		want           int
	}{
		{"6.2.0 (Debian 1:6.2+dfsg-2ubuntu6)", "tcg", SecureBoot, 1},
		{"6.2.0", "kvm", SecureBoot, 4},
		{"6.2.0", "tcg", UEFI, 4},
		{"7.2.19 (Debian 1:7.2)", "tcg", SecureBoot, 4},
		{"10.0.2", "tcg", SecureBoot, 4},
	} {
		script := "#!/bin/sh\necho 'QEMU emulator version " + c.version + "'\n"
		if err := os.WriteFile(filepath.Join(bin, qemu), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := processors(t.Context(), Options{CPUs: 4, Accel: c.accel, Firmware: c.firmware}); got != c.want {
			t.Errorf("QEMU %s, %s, %s: %d processors, want %d", c.version, c.accel, c.firmware, got, c.want)
		}
	}
}
