package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

// fake is a machine in a folder. Programs are functions; what ran is recorded.
type fake struct {
	*System
	mu       sync.Mutex
	ran      []string
	programs map[string]func(c tool.Cmd) error
}

func newFake(t *testing.T) *fake {
	t.Helper()
	// Unix socket paths are short: not t.TempDir.
	root, err := os.MkdirTemp("", "agid")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	f := &fake{programs: map[string]func(tool.Cmd) error{}}
	f.System = &System{Root: root, Warn: t.Logf, Run: func(_ context.Context, c tool.Cmd) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ran = append(f.ran, strings.TrimSpace(c.Name+" "+strings.Join(c.Args, " ")))
		if p := f.programs[c.Name]; p != nil {
			return p(c)
		}
		return fmt.Errorf("program %s not found", c.Name)
	}}
	f.programs["ssh-keygen"] = func(c tool.Cmd) error {
		name := c.Args[len(c.Args)-1]
		return joinErrors(os.WriteFile(name, []byte("key of "+c.Args[2]), 0o600), os.WriteFile(name+".pub", []byte("public"), 0o644))
	}
	f.programs["systemctl"] = func(c tool.Cmd) error {
		if c.Args[0] == "is-failed" {
			return fmt.Errorf("not failed")
		}
		return nil
	}
	f.write(t, "/etc/machine-id", strings.Repeat("ab", 16)+"\n")
	f.write(t, "/etc/ssh/sshd_config", "")
	f.write(t, wire.ConfigPath, "{}")
	f.write(t, "/proc/uptime", "41.25 60.00\n")
	f.write(t, "/sys/class/dmi/id/product_uuid", "11111111-1111-4111-8111-111111111111\n")
	return f
}

func joinErrors(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) write(t *testing.T, name, text string) {
	t.Helper()
	p := f.path(name)
	if err := joinErrors(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// disk gives the machine a disk whose fourth partition holds the state. Sizes are in sectors.
func (f *fake) disk(t *testing.T, diskSize, start, size, fsSize int64) {
	t.Helper()
	dir := "/sys/devices/pci/block/vda"
	f.write(t, dir+"/size", fmt.Sprint(diskSize))
	f.write(t, dir+"/vda3/start", "2048")
	f.write(t, dir+"/vda4/partition", "4")
	f.write(t, dir+"/vda4/start", fmt.Sprint(start))
	f.write(t, dir+"/vda4/size", fmt.Sprint(size))
	f.write(t, "/sys/dev/block/.x", "")
	os.Remove(f.path("/sys/dev/block/253:4"))
	if err := os.Symlink("../../devices/pci/block/vda/vda4", f.path("/sys/dev/block/253:4")); err != nil {
		t.Fatal(err)
	}
	f.write(t, "/proc/self/mountinfo", "22 1 253:3 / / rw - ext4 /dev/vda3 rw\n30 22 253:4 / /var/lib/agi-core rw - ext4 /dev/vda4 rw\n")
	f.ext4(t, "vda4", fsSize*sector, "x")
	for _, d := range wire.StateFolders {
		f.write(t, wire.StateRoot+"/"+d+"/.x", "")
	}
}

// ext4 gives the machine a partition with an ext4 superblock.
func (f *fake) ext4(t *testing.T, name string, size int64, label string) {
	t.Helper()
	b := make([]byte, 2048)
	b[1024+0x38], b[1024+0x39] = 0x53, 0xEF
	b[1024+0x18] = 2 // 4 KiB blocks
	binary.LittleEndian.PutUint32(b[1024+4:], uint32(size/4096))
	copy(b[1024+0x68:], "uuid of "+name+"    ")
	copy(b[1024+0x78:], label)
	f.write(t, "/dev/"+name, string(b))
	f.write(t, "/sys/class/block/"+name+"/size", "")
}

// engine answers as docker does, with these containers.
func (f *fake) engine(t *testing.T, list func() []container, restarts int) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "Docker/29.1.3 (linux)") })
	mux.HandleFunc("/containers/json", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(list()) })
	mux.HandleFunc("/containers/{id}/json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"RestartCount":%d,"State":{"ExitCode":1}}`, restarts)
	})
	if err := os.MkdirAll(f.path("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", f.path("/run/docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	s.Start()
	t.Cleanup(s.Close)
}

// chat answers as a model server does: busy for the first calls, then text.
func chat(t *testing.T, busy int, text string) string {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if busy > 0 {
			busy--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/v1/models" {
			fmt.Fprint(w, `{"data":[{"id":"saiga"}]}`)
			return
		}
		var in struct {
			Model       string
			Temperature float64
			Messages    []struct{ Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Model != "saiga" || in.Temperature != 0 || in.Messages[0].Content != "Кто ты?" {
			t.Errorf("asked %+v, %v", in, err)
		}
		json.NewEncoder(w).Encode(map[string]any{
			"choices": []any{map[string]any{"message": map[string]any{"content": text}}},
			"usage":   map[string]int{"completion_tokens": 7}, "timings": map[string]float64{"predicted_per_second": 12.345},
		})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// sound is a machine on which everything is as it should be.
func sound(t *testing.T) (*fake, *Tester) {
	t.Helper()
	f := newFake(t)
	f.disk(t, 20<<20, 4096, 20<<20-4096-34, 20<<20-4096-40)
	f.write(t, wire.StateRoot+"/models/saiga.gguf", "weights")
	f.engine(t, func() []container { return []container{{ID: "1", Names: []string{"/model"}, State: "running"}} }, 0)
	c := wire.Config{
		Name: "saiga", Version: "1.0.0", LockDigest: "sha256:1", Containers: []string{"model"}, Models: []string{"saiga.gguf"},
		Greeting: "Кто ты?", ModelURL: chat(t, 3, "Я — Сайга."),
		SelfTest: wire.SelfTestConfig{TimeoutSeconds: 3, Require: []string{"state", "docker", "container", "model", "web", "identity", "speed"}},
	}
	handler, err := (&Server{System: f.System, Config: c}).Handler()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	c.Listen = strings.TrimPrefix(web.URL, "http://")
	if err := f.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, &Tester{System: f.System, Config: c, Poll: 5e6}
}
