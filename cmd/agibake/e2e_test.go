package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agibake/agibake/internal/bake"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/vm"
	"github.com/agibake/agibake/internal/wire"
)

// host is one agibake built for the tests, with its own state folder and the user's cache of downloads.
type host struct {
	t   *testing.T
	bin string
	dir string
	env []string

	samples *samples // images of the recipe's further containers
}

// newHost builds the two programs. These tests bake and boot for real: they run with AGIBAKE_E2E=1.
func newHost(t *testing.T) *host {
	referee.E2E(t)
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // another user bakes below it too
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{t: t, bin: filepath.Join(dir, "bin", "agibake"), dir: dir, env: append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))}
	for _, name := range []string{"agibake", "agid"} {
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, "bin", name), "../"+name)
		if name == "agid" { // agibake is built as `make build` built it: nothing is compiled twice
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return h
}

// run runs agibake and requires its exit code; it returns stdout and stderr.
func (h *host) run(code int, args ...string) (string, string) {
	h.t.Helper()
	return h.exec(code, exec.Command(h.bin, args...))
}

func (h *host) exec(code int, c *exec.Cmd) (string, string) {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	c.Env, c.Stdout, c.Stderr = h.env, &stdout, &stderr
	began := time.Now()
	c.Run()
	h.t.Logf("%.1f s: %s", time.Since(began).Seconds(), strings.Join(c.Args, " "))
	if c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		h.t.Fatalf("%s: %v, want exit code %d\n%s\n%s", c, c.ProcessState, code, stdout.String(), stderr.String())
	}
	return stdout.String(), stderr.String()
}

// boot starts an image and returns what the host saw of it.
func (h *host) boot(code int, args ...string) vm.Result {
	h.t.Helper()
	out, _ := h.run(code, append([]string{"boot", "--json", "--timeout", "8m"}, args...)...)
	var r vm.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		h.t.Fatalf("boot %q: %v\n%s", args, err, out)
	}
	if r.Verdict == nil {
		h.t.Fatalf("boot %q: no verdict\n%s", args, strings.Join(r.Console, "\n"))
	}
	for _, c := range r.Verdict.Checks {
		h.t.Logf("  %-10s %-4s %5.1f s  %s", c.Name, c.Status, c.Seconds, c.Detail)
	}
	h.t.Logf("  %s by %s in %.1f s", r.Verdict.Firmware, r.Accel, r.Seconds)
	return r
}

func check(v *wire.Verdict, name string) wire.Check {
	for _, c := range v.Checks {
		if c.Name == name {
			return c
		}
	}
	return wire.Check{Name: name, Status: "absent"}
}

// TestE2EAppliance is the whole way: recipe, bake, every kind of output, a second boot, a clone, a broken model.
func TestE2EAppliance(t *testing.T) {
	t.Parallel() // with TestE2ERegistry: either is often busy on one processor only
	h := newHost(t)
	recipe := h.recipe()
	h.run(0, "bake", recipe, "-o", h.dir+"/out", "--format", "raw,qcow2,vmdk,ova")
	t.Run("other architecture", h.refused)
	h.samples.registry.Close() // from here on the cache and the lock must do
	dir := h.dir + "/out/mind-1.0.0"
	report, err := bake.ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("referees", func(t *testing.T) { referees(t, dir) })
	t.Run("rebake", func(t *testing.T) {
		again, _ := h.run(0, "bake", recipe, "-o", h.dir+"/out", "--format", "raw,qcow2,vmdk,ova")
		if !strings.Contains(again, "nothing changed") {
			t.Errorf("a second bake says %q", again)
		}
	})
	t.Run("offline as another user, elsewhere", func(t *testing.T) { h.sameBytes(t, recipe, report) })
	// It starts with bios; TestE2ERegistry starts its appliance with uefi and secureboot.
	t.Run("life", func(t *testing.T) { h.life(t, dir) })
}

// recipe is the demo with a user whose key the test holds, and with a container of every kind of image.
func (h *host) recipe() string {
	key := filepath.Join(h.dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		h.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		h.t.Fatal(err)
	}
	src := filepath.Join(h.dir, "src")
	must(h.t, "mkdir", "-p", src+"/testdata")
	must(h.t, "cp", "-r", "../../recipes", src)
	must(h.t, "cp", "-r", "../../testdata/model", src+"/testdata")
	os.Remove(src + "/recipes/demo.lock")
	h.samples = newSamples(h.t, src+"/images")
	text := fmt.Sprintf("apiVersion: agibake/v1\nkind: Appliance\nname: mind\nversion: 1.0.0\nextends: recipes/demo.yaml\n"+
		"access: {users: [{name: tester, sudo: true, authorizedKeys: [%q]}]}\n"+
		"files: [{path: /etc/motd, content: \"hello\\n\"}]\n%s", strings.TrimSpace(string(public)), h.samples.containers())
	path := filepath.Join(src, "mind.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// life boots one machine on a larger disk, twice, then a clone of it, then without its model.
func (h *host) life(t *testing.T, dir string) {
	first := h.boot(0, dir, "--name", "life", "--detach", "--disk", "20GiB", "--uuid", "11111111-1111-4111-8111-111111111111")
	if v := first.Verdict; v.Firmware != "bios" || !v.Pass || !strings.Contains(v.Answer, "agibake") {
		t.Errorf("verdict %+v", v)
	}
	if grown := check(first.Verdict, "state"); grown.Status != wire.Pass {
		t.Errorf("state: %+v", grown)
	}
	size := strings.TrimSpace(h.ssh(first, "findmnt -bno SIZE /var/lib/agi-core"))
	if len(size) < 11 { // 10 GB or more, on an image whose disk is 8 GiB
		t.Errorf("the state file system has %s bytes on a disk of 20 GiB", size)
	}
	h.ssh(first, "echo remembered | sudo tee /var/lib/agi-core/memory/note")
	if page := h.get(first, "agent", "/"); !strings.Contains(page, first.Verdict.Answer) {
		t.Errorf("the status page lacks the model's answer:\n%s", page)
	}
	if health := h.get(first, "agent", "/healthz"); !strings.Contains(health, `"status":"pass"`) {
		t.Errorf("healthz says %s", health)
	}
	h.listed(t, first)
	h.unloaded(t, first)
	h.edited(t, first)
	h.run(0, "boot", "--stop", "life")

	second := h.boot(0, dir, "--name", "life", "--detach", "--uuid", "11111111-1111-4111-8111-111111111111")
	if second.Verdict.MachineID != first.Verdict.MachineID || second.Verdict.BootID == first.Verdict.BootID {
		t.Errorf("second boot: machine-id %s after %s", second.Verdict.MachineID, first.Verdict.MachineID)
	}
	if note := h.ssh(second, "cat /var/lib/agi-core/memory/note"); note != "remembered\n" {
		t.Errorf("the second boot remembers %q", note)
	}
	h.greeted(t, second, "edited")
	h.unloaded(t, second)
	keys := h.ssh(second, "cat /etc/ssh/ssh_host_ed25519_key.pub")
	h.ssh(second, "sudo mv /var/lib/agi-core/models/greeter.gguf /var/lib/agi-core/models/away")
	h.run(0, "boot", "--stop", "life")

	copied := filepath.Join(h.dir, "clone.qcow2")
	if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", filepath.Join(h.dir, "state/agibake/machines/life/disk.qcow2"), copied).CombinedOutput(); err != nil {
		t.Fatalf("copy the disk: %v\n%s", err, out)
	}
	h.withoutModel(t, copied, "greeter.gguf", func(clone vm.Result) {
		if clone.Verdict.MachineID == first.Verdict.MachineID || h.ssh(clone, "cat /etc/ssh/ssh_host_ed25519_key.pub") == keys {
			t.Error("the clone has the identity of its original")
		}
	})
}

// withoutModel starts a copy of a machine whose model was taken away: its verdict is that, and ssh answers and tells it.
func (h *host) withoutModel(t *testing.T, image, model string, look func(vm.Result)) {
	broken := h.boot(5, image, "--name", "clone", "--detach", "--timeout", "12m", "--uuid", "22222222-2222-4222-8222-222222222222")
	look(broken)
	failed := check(broken.Verdict, "model")
	if broken.Verdict.Pass || failed.Status != wire.Fail || !strings.Contains(failed.Detail, model) {
		t.Errorf("without its model the verdict is %+v", broken.Verdict)
	}
	var kept wire.Verdict
	if err := json.Unmarshal([]byte(h.ssh(broken, "sudo tail -n 1 "+wire.StateRoot+"/logs/selftest.jsonl")), &kept); err != nil {
		t.Errorf("the last verdict in the machine: %v", err)
	}
	if diff := cmp.Diff(*broken.Verdict, kept); diff != "" {
		t.Errorf("the host heard (-) another verdict than the machine kept (+):\n%s", diff)
	}
	if health := h.get(broken, "agent", "/healthz"); !strings.Contains(health, `"status":"fail"`) || !strings.Contains(health, "model") {
		t.Errorf("healthz says %s", health)
	}
	h.run(0, "boot", "--stop", "clone")
}

// ssh runs a command in a machine as the test's user.
func (h *host) ssh(r vm.Result, command string) string {
	h.t.Helper()
	c := exec.Command("ssh", "-i", filepath.Join(h.dir, "key"), "-p", fmt.Sprint(port(r, "ssh")), "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "tester@127.0.0.1", command)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		h.t.Errorf("ssh %q: %v\n%s%s", command, err, out, stderr.String())
	}
	return string(out)
}

func (h *host) get(r vm.Result, name, path string) string {
	h.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port(r, name), path))
	if err != nil {
		h.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		h.t.Error(err)
	}
	return string(body)
}

func port(r vm.Result, name string) int {
	for _, p := range r.Ports {
		if p.Name == name {
			return p.Host
		}
	}
	return 0
}
