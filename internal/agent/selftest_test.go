package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

func find(v wire.Verdict, name string) wire.Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return c
		}
	}
	return wire.Check{}
}

func TestSelfTestPasses(t *testing.T) {
	_, tester := sound(t)
	said := make(chan string, 20)
	tester.Say = func(text string) { said <- text }
	v := tester.Run(t.Context())
	if !v.Pass || v.Answer != "Я — Сайга." || v.Tokens != 7 || v.Rate != 12.35 || v.Uptime != 41.25 || v.Firmware != "bios" {
		t.Errorf("verdict = %+v", v)
	}
	names := []string{}
	for _, c := range v.Checks {
		names = append(names, c.Name)
		if c.Status != wire.Pass && c.Name != "gpu" {
			t.Errorf("%+v", c)
		}
	}
	for _, n := range []string{"state", "clock", "docker", "container", "model", "speed", "gpu", "web", "identity", "space", "units"} {
		if !slices.Contains(names, n) {
			t.Errorf("no check %s", n)
		}
	}
	if got := find(v, "gpu").Status; got != wire.Skip {
		t.Errorf("gpu is %s", got)
	}
	close(said)
	var texts []string
	for s := range said {
		texts = append(texts, s)
	}
	for _, want := range []string{"docker 29.1.3 answers", "model is loading", "model answers: Я — Сайга."} {
		if !slices.Contains(texts, want) {
			t.Errorf("not said: %q; said %q", want, texts)
		}
	}
	if line := Line(v); line != "AGI-SELFTEST PASS saiga 1.0.0 uptime=41.2s tokens/s=12.3" && line != "AGI-SELFTEST PASS saiga 1.0.0 uptime=41.2s tokens/s=12.4" {
		t.Errorf("line = %q", line)
	}
}

// TestSelfTestFails breaks one thing at a time: that check and no other required one must fail, with the reason.
func TestSelfTestFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*fake, *Tester)
		failed string // checks, in order
		detail string // part of the first one's detail
		quick  bool   // no waiting for the whole time
	}{
		"no docker": {func(f *fake, _ *Tester) { os.Remove(f.path("/run/docker.sock")) }, "docker container model speed", "not within 1 s", false},
		"docker failed": {func(f *fake, tt *Tester) {
			os.Remove(f.path("/run/docker.sock"))
			tt.Config.SelfTest.TimeoutSeconds = 30
			tt.Config.ModelURL = "http://127.0.0.1:1"
			f.programs["systemctl"] = func(tool.Cmd) error { return nil }
		}, "docker container model speed", "docker.service has failed", false},
		"no container":  {func(_ *fake, tt *Tester) { tt.Config.Containers = []string{"other"} }, "container", "other is not there", false},
		"no model file": {func(f *fake, _ *Tester) { os.Remove(f.state("models/saiga.gguf")) }, "model speed", "models/saiga.gguf is missing", true},
		"never loads":   {func(_ *fake, tt *Tester) { tt.Config.ModelURL = chat(t, 1e9, "") }, "model speed", "not within 1 s: model is loading", false},
		"nobody there":  {func(_ *fake, tt *Tester) { tt.Config.ModelURL = "http://127.0.0.1:1" }, "model speed", "connection refused", false},
		"empty answer":  {func(_ *fake, tt *Tester) { tt.Config.ModelURL = chat(t, 0, " \n") }, "model speed", "empty answer", true},
		"too slow":      {func(_ *fake, tt *Tester) { tt.Config.SelfTest.MinTokensPerSecond = 100 }, "speed", "12.35 tokens/s, the recipe wants 100.00", true},
		"not grown":     {func(f *fake, _ *Tester) { f.write(t, "/sys/devices/pci/block/vda/size", "40000000") }, "state", "of the disk unused", true},
		"fs not grown": {func(f *fake, _ *Tester) {
			f.write(t, "/sys/devices/pci/block/vda/vda4/size", "30000000")
			f.write(t, "/sys/devices/pci/block/vda/size", "30004200")
		}, "state", "file system leaves", true},
		"not mounted":      {func(f *fake, _ *Tester) { f.write(t, "/proc/self/mountinfo", "") }, "state", "not mounted", true},
		"no machine-id":    {func(f *fake, _ *Tester) { f.write(t, "/etc/machine-id", "") }, "identity", "is not one", true},
		"no host key":      {func(f *fake, _ *Tester) { os.Remove(f.path("/etc/ssh/ssh_host_ed25519_key")) }, "identity", "is missing", true},
		"other identity":   {func(f *fake, _ *Tester) { f.write(t, "/etc/machine-id", strings.Repeat("cd", 16)) }, "identity", "differs", true},
		"GPU wanted":       {func(_ *fake, tt *Tester) { tt.Config.GPU = true; tt.Config.SelfTest.Require = []string{"gpu"} }, "gpu", "nvidia-smi not found", true},
		"required, absent": {func(_ *fake, tt *Tester) { tt.Config.ModelURL = "" }, "model speed", "no model container", true},
		"bad config":       {func(_ *fake, tt *Tester) { tt.Problem = errors.New("bad\nfile") }, "config", "bad file", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, tester := sound(t)
			if !c.quick {
				tester.Config.SelfTest.TimeoutSeconds = 1
			}
			c.spoil(f, tester)
			begin := time.Now()
			v := tester.Run(t.Context())
			var failed []string
			for _, x := range v.Checks {
				if x.Status == wire.Fail {
					failed = append(failed, x.Name)
				}
			}
			if got := strings.Join(failed, " "); v.Pass || got != c.failed {
				t.Fatalf("failed %q, want %q: %+v", got, c.failed, v.Checks)
			}
			if d := find(v, failed[0]).Detail; !strings.Contains(d, c.detail) {
				t.Errorf("detail %q, want %q", d, c.detail)
			}
			if line := Line(v); !strings.HasPrefix(line, "AGI-SELFTEST FAIL saiga 1.0.0 ") || strings.ContainsAny(line, "\n\r") || !strings.Contains(line, c.detail) {
				t.Errorf("line = %q", line)
			}
			if took := time.Since(begin); c.quick && took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestRestartingContainerIsGivenUp(t *testing.T) {
	f, tester := sound(t)
	os.Remove(f.path("/run/docker.sock"))
	f.engine(t, func() []container { return []container{{ID: "1", Names: []string{"/model"}, State: "restarting"}} }, 7)
	tester.Config.ModelURL, tester.Config.SelfTest.TimeoutSeconds = "http://127.0.0.1:1", 60
	begin := time.Now()
	v := tester.Run(t.Context())
	if d := find(v, "container").Detail; !strings.Contains(d, "restarted 7 times") || time.Since(begin) > 10*time.Second {
		t.Errorf("%q after %s", d, time.Since(begin))
	}
	if d := find(v, "model").Detail; !strings.Contains(d, "restarted 7 times") {
		t.Errorf("model: %q", d)
	}
}

func TestUnrequiredFaultsOnlyWarn(t *testing.T) {
	f, tester := sound(t)
	f.programs["systemctl"] = func(c tool.Cmd) error {
		io.WriteString(c.Stdout, "agi-selftest.service loaded failed failed x\nmnt-x.mount loaded failed failed y\n")
		return nil
	}
	tester.Config.Epoch = time.Now().Unix() + 1000
	v := tester.Run(t.Context())
	if c := find(v, "units"); c.Status != wire.Warn || c.Detail != "failed: mnt-x.mount" || !v.Pass {
		t.Errorf("%+v, pass %v", c, v.Pass)
	}
	if c := find(v, "clock"); c.Status != wire.Warn {
		t.Errorf("%+v", c)
	}
}

func TestGPU(t *testing.T) {
	f, tester := sound(t)
	f.programs["nvidia-smi"] = func(c tool.Cmd) error {
		text := "| Driver Version: 580.1   CUDA Version: 13.0 |\n"
		if len(c.Args) > 0 {
			text = "NVIDIA L4, 580.1\nNVIDIA L4, 580.1\n"
		}
		_, err := io.WriteString(c.Stdout, text)
		return err
	}
	tester.Config.GPU = true
	for cuda, ok := range map[string]bool{"": true, "12.4": true, "13.0": true, "13.1": false, "x": false} {
		tester.Config.CUDA = cuda
		detail, err := tester.checkGPU(t.Context())
		if (err == nil) != ok || ok && detail != "NVIDIA L4, 580.1; NVIDIA L4, 580.1" {
			t.Errorf("CUDA %q: %q, %v", cuda, detail, err)
		}
	}
}

func TestInterrupt(t *testing.T) {
	_, tester := sound(t)
	tester.Config.ModelURL = chat(t, 1e9, "")
	tester.Config.SelfTest.TimeoutSeconds = 600
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	begin := time.Now()
	if v := tester.Run(ctx); v.Pass || time.Since(begin) > 5*time.Second {
		t.Errorf("pass %v after %s", v.Pass, time.Since(begin))
	}
}

func TestReport(t *testing.T) {
	f, tester := sound(t)
	for _, name := range []string{"/dev/ttyS0", "/dev/tty0", "/dev/virtio-ports/" + wire.PortName} {
		f.write(t, name, "")
	}
	f.write(t, "/sys/class/tty/console/active", "tty0 ttyS0\n")
	f.write(t, "/sys/class/dmi/id/sys_vendor", "VMware, Inc.\n")
	f.write(t, wire.StateRoot+"/logs/selftest.jsonl", `{"broken`)
	f.programs["vmtoolsd"] = func(tool.Cmd) error { return nil }
	r := &Reporter{System: f.System}
	r.Progress("docker up")
	v := tester.Run(t.Context())
	for range 2 {
		if err := r.Verdict(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(f.word(wire.StateRoot+"/logs/selftest.jsonl")), "\n")
	if len(lines) != 3 || lines[0] != `{"broken` || lines[1] != lines[2] {
		t.Errorf("log has %d lines: %q", len(lines), lines)
	}
	var logged wire.Verdict
	if err := json.Unmarshal([]byte(lines[2]), &logged); err != nil || logged.Answer != v.Answer {
		t.Errorf("log: %v, %+v", err, logged)
	}
	for _, name := range []string{"/dev/ttyS0", "/dev/tty0"} {
		if got := f.word(name); !strings.Contains(got, Line(v)+"\n") {
			t.Errorf("%s: %q", name, got)
		}
	}
	var types []string
	for line := range strings.Lines(f.word("/dev/virtio-ports/" + wire.PortName)) {
		var m wire.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%v: %q", err, line)
		}
		types = append(types, m.Type)
	}
	if got := strings.Join(types, " "); got != "progress verdict verdict" {
		t.Errorf("messages: %s", got)
	}
	if last := f.ran[len(f.ran)-1]; !strings.HasPrefix(last, "vmtoolsd --cmd info-set guestinfo.agibake.selftest {") {
		t.Errorf("hypervisor: %s", last)
	}
}

func TestStatusPage(t *testing.T) {
	f, tester := sound(t)
	c := tester.Config
	c.Name = "<b>saiga"
	handler, err := (&Server{System: f.System, Config: c, Problem: "no file"}).Handler()
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/"); code != 200 || !strings.Contains(body, "testing") || strings.Contains(body, "<b>saiga") || !strings.Contains(body, "no file") {
		t.Errorf("before: %d %s", code, body)
	}
	v := tester.Run(t.Context())
	v.Pass, v.Checks[0].Status, v.Answer = false, wire.Fail, "<script>"
	if err := (&Reporter{System: f.System}).Verdict(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if code, body := get("/"); code != 200 || !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, `class="fail"`) || !strings.Contains(body, "running") && !strings.Contains(body, "model") {
		t.Errorf("after: %d %s", code, body)
	}
	code, body := get("/healthz")
	var h Health
	if err := json.Unmarshal([]byte(body), &h); err != nil || code != 200 || h.Status != "fail" || strings.Join(h.Failed, " ") != "state" {
		t.Errorf("healthz: %d %s %v", code, body, err)
	}
	if code, _ := get("/other"); code != 404 {
		t.Errorf("/other: %d", code)
	}
}

func TestServeStops(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Server{System: f.System, Config: wire.Config{Listen: "127.0.0.1:0"}}).Serve(ctx) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("does not stop")
	}
}
