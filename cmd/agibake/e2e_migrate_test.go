package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/migrate"
	"github.com/agibake/agibake/internal/vm"
	"github.com/agibake/agibake/internal/wire"
)

// movable is the demo with a mind of its own and a user whose key the test holds.
const movable = `apiVersion: agibake/v1
kind: Appliance
name: movable
version: 1.0.0
extends: recipes/demo.yaml
access: {users: [{name: tester, sudo: true, authorizedKeys: [%q]}]}
outputs: !replace [qcow2]
`

// TestE2EMigrate moves a mind from one appliance to another by ssh: one that becomes another mind is refused, and both are
// as before; the same mind is handed over.
func TestE2EMigrate(t *testing.T) {
	h := newHost(t)
	key := filepath.Join(h.dir, "key")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public := strings.TrimSpace(readString(t, key+".pub"))
	must(t, "cp", "-r", "../../recipes", h.dir)
	must(t, "mkdir", "-p", h.dir+"/testdata")
	must(t, "cp", "-r", "../../testdata/model", h.dir+"/testdata")
	fatal(t, os.WriteFile(h.dir+"/movable.yaml", fmt.Appendf(nil, movable, public), 0o644))
	h.run(0, "bake", h.dir+"/movable.yaml", "-o", h.dir+"/out")
	var machines [2]vm.Result
	var boots sync.WaitGroup
	for i, name := range []string{"old", "new"} {
		boots.Go(func() { machines[i] = h.boot(0, h.dir+"/out/movable-1.0.0", "--name", name, "--detach") })
	}
	boots.Wait()
	if t.Failed() {
		t.FailNow()
	}
	from, to := machines[0], machines[1]
	for _, r := range machines {
		h.ssh(r, `echo '{"modes":{"RECURSIA":{"systemPrompt":"Think about your own answers."}}}' | sudo tee /var/lib/agi-core/boot/settings.json`)
	}
	h.ssh(from, `echo '{"id":2,"text":"lived"}' | sudo tee -a /var/lib/agi-core/memory/notes.jsonl`)
	identity := h.ssh(to, "cat /var/lib/agi-core/boot/identity.json")
	place := func(r vm.Result) string {
		return fmt.Sprintf("ssh://tester@127.0.0.1:%d%s", port(r, "ssh"), wire.StateRoot)
	}
	ssh := "ssh -i " + key + " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
	move := func(code int, args ...string) (string, string) {
		return h.run(code, append([]string{"migrate", place(from), place(to), "--ssh", ssh, "--prefixes", "20"}, args...)...)
	}
	notes := "cat /var/lib/agi-core/memory/notes.jsonl 2>/dev/null; systemctl is-active agi-model"

	out, _ := move(5, "--dst-start", `sed -i s/own/other/ /var/lib/agi-core/boot/settings.json; systemctl start agi-model`)
	t.Log(out)
	if !strings.Contains(out, "the system prompt of mode RECURSIA was edited") {
		t.Errorf("the verdict is\n%s", out)
	}
	if got := h.ssh(from, notes); !strings.Contains(got, "lived") || !strings.HasSuffix(got, "\nactive\n") {
		t.Errorf("after a refusal the source says %s", got)
	}
	if got := h.ssh(to, notes); strings.Contains(got, "lived") || got != "active\n" {
		t.Errorf("after a refusal the destination says %s", got)
	}

	out, _ = move(0, "--json")
	var r migrate.Report
	fatal(t, json.Unmarshal([]byte(out), &r))
	t.Logf("%d of %d bytes sent, down for %s of %s", r.Sent, r.Bytes, r.Downtime, r.Total)
	if r.Verdict == nil || !r.Verdict.Same || r.Sent > 1<<20 || r.Kept < 1<<20 || r.Downtime <= 0 {
		t.Errorf("%s", out)
	}
	if got := h.ssh(to, notes); !strings.Contains(got, "lived") || !strings.HasSuffix(got, "\nactive\n") {
		t.Errorf("the destination says %s", got)
	}
	if got := h.ssh(from, "systemctl is-active agi-model || true"); got != "inactive\n" {
		t.Errorf("at the source agi-model is %s", got)
	}
	if now := h.ssh(to, "cat /var/lib/agi-core/boot/identity.json"); now != identity {
		t.Errorf("the destination's identity became %s", now)
	}

	// And back by a snapshot: the agent captures, and restores with a self-test.
	store := "oci:" + h.dir + "/store"
	h.ssh(to, `echo '{"id":3,"text":"elsewhere"}' | sudo tee -a /var/lib/agi-core/memory/notes.jsonl`)
	h.run(0, "state", "capture", place(to), "--to", store, "--ssh", ssh)
	h.run(0, "state", "verify", store)
	h.run(0, "state", "restore", store, "--to", place(from), "--ssh", ssh)
	if got := h.ssh(from, notes); !strings.Contains(got, "elsewhere") || !strings.HasSuffix(got, "\nactive\n") {
		t.Errorf("after the restore the first machine says %s", got)
	}
	h.run(0, "boot", "--stop", "old")
	h.powerCut(t, to, place(to), store, ssh)
	h.run(0, "boot", "--stop", "new")
}

// powerCut resets a machine in the midst of a capture, without a word to its file systems: what was captured before holds,
// and the machine comes back with all that was written.
func (h *host) powerCut(t *testing.T, m vm.Result, place, store, ssh string) {
	boot := h.ssh(m, "cat /proc/sys/kernel/random/boot_id")
	c := exec.Command(h.bin, "state", "capture", place, "--to", store, "--ssh", ssh)
	c.Env = h.env
	fatal(t, c.Start())
	time.Sleep(time.Second)
	cut := exec.Command("sh", "-c", ssh+fmt.Sprintf(" -o ServerAliveInterval=2 -p %d tester@127.0.0.1 'echo b | sudo tee /proc/sysrq-trigger'", port(m, "ssh")))
	_ = cut.Run() // nobody is left to say that it worked
	if err := c.Wait(); err == nil {
		t.Log("the capture was faster than the power cut")
	}
	h.run(0, "state", "verify", store)
	for until := time.Now().Add(8 * time.Minute); ; time.Sleep(2 * time.Second) {
		out, err := exec.Command("sh", "-c", ssh+fmt.Sprintf(" -o ConnectTimeout=5 -p %d tester@127.0.0.1 cat /proc/sys/kernel/random/boot_id", port(m, "ssh"))).Output()
		if err == nil && string(out) != boot {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the machine does not come back")
		}
	}
	got := h.ssh(m, "sudo /usr/lib/agibake/agid selftest; cat /var/lib/agi-core/memory/notes.jsonl")
	if !strings.Contains(got, "AGI-SELFTEST PASS") && strings.Contains(got, "FAIL") || !strings.Contains(got, "lived") || !strings.Contains(got, "elsewhere") {
		t.Errorf("after the power cut the machine says %s", got)
	}
	h.run(0, "state", "capture", place, "--to", store, "--ssh", ssh)
}
