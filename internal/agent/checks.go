package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/wire"
)

// checkState: the state partition is mounted, writable, and as large as its disk allows.
func (t *Tester) checkState(context.Context) (string, error) {
	p, err := t.statePartition()
	switch {
	case t.inContainer() && (errors.Is(err, errNotMounted) || errors.Is(err, errNoPartition)):
		p = partition{}
	case err != nil:
		return "", err
	}
	probe := t.state("logs/.write-test")
	if err := errors.Join(os.WriteFile(probe, []byte("x"), 0o600), os.Remove(probe)); err != nil {
		return "", fmt.Errorf("state is not writable: %w", err)
	}
	if t.inContainer() {
		return "folder of a container", nil
	}
	fs, err := t.superblock(p.device)
	switch {
	case err != nil:
		return "", err
	case p.last && p.spare() > slack:
		return "", fmt.Errorf("%s leaves %d MiB of the disk unused", p.device, p.spare()*sector>>20)
	case p.size*sector-fs.size >= slack*sector:
		return "", fmt.Errorf("file system leaves %d MiB of %s unused", (p.size*sector-fs.size)>>20, p.device)
	}
	return fmt.Sprintf("%s, %d MiB", p.device, fs.size>>20), nil
}

// checkClock: the clock is not before the bake. Being offline is no fault.
func (t *Tester) checkClock(context.Context) (string, error) {
	if now := time.Now(); now.Unix() < t.Config.Epoch {
		return "", fmt.Errorf("clock says %s, before the appliance was made", now.UTC().Format(time.RFC3339))
	}
	if t.exists("/run/systemd/timesync/synchronized") {
		return "synchronised", nil
	}
	return "not synchronised", nil
}

// checkWeb: the agent's own status page answers.
func (t *Tester) checkWeb(ctx context.Context) (string, error) {
	host, port, err := net.SplitHostPort(t.Config.Listen)
	if err != nil {
		return "", fmt.Errorf("listen address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	return t.until(ctx, t.Poll, func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", final{err}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		var h Health
		if err := json.NewDecoder(res.Body).Decode(&h); err != nil || res.StatusCode != http.StatusOK || h.Name != t.Config.Name {
			return "", fmt.Errorf("%s: %s, from something else than this agent", url, res.Status)
		}
		return url, nil
	})
}

var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// checkIdentity: the machine has an identity, and the one that was recorded for it.
func (t *Tester) checkIdentity(context.Context) (string, error) {
	id := t.word("/etc/machine-id")
	if !machineID.MatchString(id) || strings.Trim(id, "0") == "" {
		return "", fmt.Errorf("machine-id %q is not one", id)
	}
	for _, kind := range keyTypes {
		name := "/etc/ssh/ssh_host_" + kind + "_key"
		if t.exists("/etc/ssh/sshd_config") && t.word(name) == "" {
			return "", fmt.Errorf("%s is missing", name)
		}
	}
	old, known := t.loadIdentity()
	if known && (old.MachineID != id || old.ProductUUID != t.productUUID()) {
		return "", errors.New("identity differs from the one recorded at boot")
	}
	return id, nil
}

// leastFree is the part of a file system that must be free.
const leastFree = 0.03

// checkSpace: system and state have room left, in bytes and inodes.
func (t *Tester) checkSpace(context.Context) (string, error) {
	var details []string
	for _, dir := range []string{"/", wire.StateRoot} {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(t.path(dir), &fs); err != nil {
			return "", fmt.Errorf("%s: %w", dir, err)
		}
		free := float64(fs.Bavail) / float64(max(fs.Blocks, 1))
		if free < leastFree || fs.Files > 0 && float64(fs.Ffree)/float64(fs.Files) < leastFree {
			return "", fmt.Errorf("%s is full: %.1f %% of its bytes and %d inodes are free", dir, free*100, fs.Ffree)
		}
		details = append(details, fmt.Sprintf("%s %.0f %%", dir, free*100))
	}
	return strings.Join(details, ", ") + " free", nil
}

// checkUnits: no unit has failed, this one left aside.
func (t *Tester) checkUnits(ctx context.Context) (string, error) {
	text, err := t.output(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return "", err
	}
	var failed []string
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) > 0 && w[0] != "agi-selftest.service" {
			failed = append(failed, w[0])
		}
	}
	if len(failed) > 0 {
		return "", fmt.Errorf("failed: %s", strings.Join(failed, " "))
	}
	return "none failed", nil
}
