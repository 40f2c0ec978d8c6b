package bake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// names lists a folder, hidden names too.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// TestOutputAppearsWhole follows a folder from its making to its replacement by a second bake.
func TestOutputAppearsWhole(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "a [b]*")
	for _, content := range []string{"first", "second"} {
		o, err := openOutput(parent, "x-1")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(o.dir, "disk"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := openOutput(parent, "x-1"); err == nil || !strings.Contains(err.Error(), "another bake") {
			t.Errorf("a second bake of the same name at the same time: %v", err)
		}
		other, err := openOutput(parent, "x-1.1")
		if err != nil {
			t.Fatal(err)
		}
		other.close()
		if err := o.publish(t.Context(), &Report{}); err != nil {
			t.Fatal(err)
		}
		o.close()
		if got, _ := os.ReadFile(filepath.Join(parent, "x-1", "disk")); string(got) != content || names(t, parent) != "x-1" {
			t.Errorf("%q in %q", got, names(t, parent))
		}
	}
}

// TestKilledBakeIsSweptUp lets the next bake of a name remove what a killed one left, and nothing else.
func TestKilledBakeIsSweptUp(t *testing.T) {
	parent := t.TempDir()
	killed, err := openOutput(parent, "x-1")
	if err != nil {
		t.Fatal(err)
	}
	killed.lock.Close()
	if err := os.Mkdir(filepath.Join(parent, ".y-1.partial-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := openOutput(parent, "x-1")
	if err != nil {
		t.Fatal(err)
	}
	next.close()
	if got := names(t, parent); got != ".y-1.partial-1" {
		t.Errorf("left: %s", got)
	}
}

func TestForeignFolderIsKept(t *testing.T) {
	parent := t.TempDir()
	precious := filepath.Join(parent, "x-1", "precious")
	if err := os.Mkdir(filepath.Dir(precious), 0o755); err != nil {
		t.Fatal(err)
	}
	if o, err := openOutput(parent, "x-1"); err != nil {
		t.Error("an empty folder is in the way:", err)
	} else {
		o.close()
	}
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openOutput(parent, "x-1"); fault.KindOf(err) != fault.Input || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if got := names(t, parent); got != "x-1" {
		t.Errorf("left: %s", got)
	}
}

// TestFullDiskIsNamed finds the hint that belongs to the disk that is full.
func TestFullDiskIsNamed(t *testing.T) {
	o := &output{final: "/srv/out/x-1", temp: "/srv/out/.x-1.partial-1"}
	for path, want := range map[string]string{o.temp + "/work/disk.raw": "disk of /srv/out, or", "/tmp/db/bolt": "disk of /tmp/db"} {
		err := o.roomFor(&os.PathError{Op: "write", Path: path, Err: unix.ENOSPC})
		if !strings.Contains(fault.HintOf(err), want) {
			t.Errorf("%s: hint %q", path, fault.HintOf(err))
		}
	}
	if fault.HintOf(o.roomFor(unix.EIO)) != "" || fault.HintOf(o.roomFor(fault.Hint(unix.ENOSPC, "known"))) != "known" {
		t.Error("a hint where none belongs")
	}
}
