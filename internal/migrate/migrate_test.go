package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
)

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	fatal(t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatal(t, os.WriteFile(path, data, 0o644))
}

func read(t testing.TB, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	fatal(t, err)
	return string(data)
}

func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// pair is a source with a state and a destination with another one, which has the same model.
type pair struct {
	src, dst EndOptions
	log      string // what was stopped and started
}

func newPair(t *testing.T) *pair {
	dir := t.TempDir()
	p := &pair{log: dir + "/log"}
	for _, o := range []struct {
		name string
		to   *EndOptions
	}{{"src", &p.src}, {"dst", &p.dst}} {
		o.to.Root = filepath.Join(dir, o.name, "core")
		write(t, o.to.Root, "models/m.bin", noise(1, 5<<20))
		write(t, o.to.Root, "boot/identity.json", []byte(o.name))
		o.to.Stop, o.to.Start = "echo stop "+o.name+" >>"+p.log, "echo start "+o.name+" >>"+p.log
	}
	write(t, p.src.Root, "memory/notes.jsonl", []byte(strings.Repeat("{\"n\":1}\n", 1000)))
	write(t, p.src.Root, "memory/noise.dat", noise(2, 3<<20))
	write(t, p.dst.Root, "memory/old.txt", []byte("what was here before"))
	return p
}

func (p *pair) run(t *testing.T, o Options) (*Report, error) {
	t.Helper()
	src, err := Local(t.Context(), "src", p.src)
	fatal(t, err)
	dst, err := Local(t.Context(), "dst", p.dst)
	fatal(t, err)
	r, err := Run(t.Context(), src, dst, o)
	fatal(t, errors.Join(src.Close(), dst.Close()))
	return r, err
}

func (p *pair) steps(t *testing.T) string {
	data, _ := os.ReadFile(p.log)
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", ", ")
}

func TestMove(t *testing.T) {
	p := newPair(t)
	appended := false
	r, err := p.run(t, Options{NoCheck: true, Keep: true, Progress: func(e progress.Event) {
		if e.Stage == "stop" && !appended { // written between the passes
			appended = true
			f, _ := os.OpenFile(p.src.Root+"/memory/notes.jsonl", os.O_APPEND|os.O_WRONLY, 0)
			fmt.Fprintln(f, `{"n":2}`)
			f.Close()
		}
	}})
	fatal(t, err)
	if got := read(t, p.dst.Root, "memory/notes.jsonl"); !strings.HasSuffix(got, "{\"n\":1}\n{\"n\":2}\n") || got != read(t, p.src.Root, "memory/notes.jsonl") {
		t.Error("the last record did not come along")
	}
	if read(t, p.dst.Root, "memory/noise.dat") != string(noise(2, 3<<20)) || read(t, p.dst.Root, "boot/identity.json") != "dst" {
		t.Error("memory or identity are wrong")
	}
	if _, err := os.Stat(p.dst.Root + "/memory/old.txt"); err == nil {
		t.Error("the former state is still there")
	}
	if read(t, r.Former, "memory/old.txt") == "" {
		t.Error("the former state was not kept")
	}
	if r.Sent > 4<<20 || r.Kept < 5<<20 || r.Delta > 1<<20 || r.Delta == 0 {
		t.Errorf("the model was sent although it is there, or too much in the delta: %+v", r)
	}
	if got := p.steps(t); got != "stop src, stop dst, start dst" {
		t.Errorf("steps: %s", got)
	}
}

// TestDestinationFails: it cannot start, so both ends are as before.
func TestDestinationFails(t *testing.T) {
	p := newPair(t)
	mark := filepath.Join(t.TempDir(), "failed")
	p.dst.Start = "test -e " + mark + " || { touch " + mark + "; exit 3; }; " + p.dst.Start
	_, err := p.run(t, Options{NoCheck: true})
	if err == nil {
		t.Fatal("it did not fail")
	}
	if read(t, p.dst.Root, "memory/old.txt") == "" {
		t.Error("the destination did not get its state back")
	}
	if got := p.steps(t); got != "stop src, stop dst, stop dst, start dst, start src" {
		t.Errorf("steps: %s", got)
	}
	// The next attempt sends nothing again.
	r, err := p.run(t, Options{NoCheck: true})
	if err != nil || r.Sent != 0 {
		t.Errorf("%v %+v", err, r)
	}
}

// TestHangUp: wherever whoever asks disappears, exactly one side goes on with a whole state.
func TestHangUp(t *testing.T) {
	for _, at := range []string{"bulk", "stop", "delta", "switch", "start"} {
		t.Run(at, func(t *testing.T) {
			p := newPair(t)
			src, err := Local(t.Context(), "src", p.src)
			fatal(t, err)
			dst, err := Local(t.Context(), "dst", p.dst)
			fatal(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			_, err = Run(ctx, src, dst, Options{NoCheck: true, Progress: func(e progress.Event) {
				if e.Stage == at {
					cancel()
				}
			}})
			if err == nil {
				t.Fatal("it went through")
			}
			fatal(t, errors.Join(src.Close(), dst.Close()))
			if read(t, p.dst.Root, "memory/old.txt") == "" || read(t, p.src.Root, "memory/noise.dat") == "" {
				t.Error("a state is gone")
			}
			steps := p.steps(t)
			for _, side := range []string{"src", "dst"} {
				if strings.LastIndex(steps, "stop "+side) > strings.LastIndex(steps, "start "+side) {
					t.Errorf("%s stays stopped: %s", side, steps)
				}
			}
		})
	}
}

// TestHostileEnds: what an end is sent is not believed.
func TestHostileEnds(t *testing.T) {
	p := newPair(t)
	for _, m := range []message{
		{Do: "plan", data: []byte("agibake tree 1\nf 0644 0 0 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -1 ../out\n")},
		{Do: "piece", Sum: strings.Repeat("0", 64)}, {Do: "piece", Sum: "../../etc/passwd"}, {Do: "finish"}, {Do: "nonsense"}, {Do: "check", data: []byte("{}")},
	} {
		dst, err := Local(t.Context(), "dst", p.dst)
		fatal(t, err)
		if _, err := dst.ask(t.Context(), m); err == nil || fault.KindOf(err) == fault.Failed && m.Do != "undo" {
			t.Errorf("%s: %v", m.Do, err)
		}
		fatal(t, dst.Close())
	}
	var out bytes.Buffer
	if err := Serve(t.Context(), strings.NewReader("no zstd at all"), &out, p.dst); err == nil {
		t.Error("nonsense is a connection")
	}
}
