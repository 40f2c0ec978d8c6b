package recipe

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check finds what no single value shows: combinations, and values with a grammar of their own.
func (d *decoder) check(r *Recipe) {
	d.checkMachine(&r.Machine)
	d.checkGPU(r)
	d.checkContainers(r)
	d.checkModels(r.Models)
	d.checkUsers(r.Access.Users)
	d.checkFiles(r.Files)
	d.checkUnits(r.Units)
	d.checkShares(r.Shares)
	d.checkAgent(&r.Agent)
	d.checkSelfTest(r)
	if r.Sign != nil {
		d.local("sign.key", &r.Sign.Key, "", aFile, "agibake keygen makes a pair of keys")
	}
}

// wrong reports the value at path, at its place or that of the nearest value around it.
func (d *decoder) wrong(path, hint, format string, args ...any) {
	at := path
	for !d.written(at) && at != "" {
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	d.fault(path, d.places[at], hint, format, args...)
}

const (
	bootPartitions = 258 << 20 // gap and BIOS boot partition 1 MiB each, ESP 256 MiB
	minState       = 64 << 20
	minSystem      = 512 << 20
)

func (d *decoder) checkMachine(m *Machine) {
	for _, s := range []struct {
		name       string
		size, step Size
	}{{"memory", m.Memory, 4 << 20}, {"disk", m.Disk, 1 << 20}, {"systemSize", m.SystemSize, 1 << 20}} {
		if s.size%s.step != 0 {
			d.wrong("machine."+s.name, "", "%s is no multiple of %s", s.size, s.step)
		}
	}
	if m.Memory < 256<<20 {
		d.wrong("machine.memory", "", "%s is too little for Linux: at least 256MiB", m.Memory)
	}
	if m.SystemSize < minSystem {
		d.wrong("machine.systemSize", "", "%s is too small for a system: at least %s", m.SystemSize, Size(minSystem))
	}
	if m.SystemSize > m.Disk-bootPartitions-minState && !d.bad["machine.disk"] {
		d.wrong("machine.systemSize", fmt.Sprintf("the boot partitions take 258MiB and the state at least %s", Size(minState)),
			"%s does not fit on a disk of %s", m.SystemSize, m.Disk)
	}
	if m.SecureBoot && !slices.Contains(m.Firmware, "uefi") {
		d.wrong("machine.secureBoot", "", "Secure Boot needs uefi in machine.firmware")
	}
}

func (d *decoder) checkGPU(r *Recipe) {
	if r.GPU == nil {
		for i, c := range r.Containers {
			if c.GPU {
				d.wrong(fmt.Sprintf("containers[%d].gpu", i), `add for example gpu: {driver: "580-server-open"}`, "the recipe has no gpu section")
			}
		}
		if slices.Contains(r.SelfTest.Require, "gpu") {
			d.wrong(item("selftest.require", slices.Index(r.SelfTest.Require, "gpu")), "", "the recipe has no gpu section")
		}
		return
	}
	if r.Base.Distribution != "ubuntu" {
		d.wrong("gpu", "", "signed driver packages come with ubuntu only")
	} else if !slices.Contains(r.Base.Components, "restricted") {
		d.wrong("base.components", "", "the gpu section needs restricted")
	}
	branch, _, _ := strings.Cut(r.GPU.Driver, "-")
	cuda, _, _ := strings.Cut(r.GPU.CUDA, ".")
	have, _ := strconv.Atoi(branch)
	// NVIDIA, CUDA Compatibility: the oldest driver of each CUDA major version.
	least := map[string]int{"11": 450, "12": 525, "13": 580}[cuda]
	if !d.bad["gpu.driver"] && have < least {
		d.wrong("gpu.driver", "", "driver %s is too old for CUDA %s, which needs %d or newer", r.GPU.Driver, r.GPU.CUDA, least)
	}
}

func (d *decoder) checkAgent(a *Agent) {
	_, port, err := net.SplitHostPort(a.Listen)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 {
		d.wrong("agent.listen", "", `%s is not an address such as ":8443"`, quote(a.Listen))
	}
	for i, ship := range a.Logs.Ship {
		if len(ship) != 1 {
			d.wrong(item("agent.logs.ship", i), "", "expected one service with its address, found %d", len(ship))
		}
	}
}

func (d *decoder) checkSelfTest(r *Recipe) {
	t, err := time.ParseDuration(r.SelfTest.Timeout)
	switch {
	case err != nil:
		d.wrong("selftest.timeout", "", "%s is not a duration such as 90s or 5m", quote(r.SelfTest.Timeout))
	case t < time.Second || t > 24*time.Hour:
		d.wrong("selftest.timeout", "", "%s is not between 1s and 24h", r.SelfTest.Timeout)
	}
	if len(r.Containers) > 0 {
		return
	}
	for i, check := range r.SelfTest.Require {
		if slices.Contains([]string{"docker", "container", "model", "speed"}, check) {
			d.wrong(item("selftest.require", i), "", "%s needs a container, and the recipe has none", check)
		}
	}
	if r.SelfTest.MinTokensPerSecond > 0 {
		d.wrong("selftest.minTokensPerSecond", "", "needs a container, and the recipe has none")
	}
}

// Duration is the timeout as a duration.
func (s SelfTest) Duration() time.Duration {
	t, _ := time.ParseDuration(s.Timeout)
	return t
}

// Trees that exist only while the system runs, or that another file system hides.
var elsewhere = []struct{ dir, why string }{
	{"/proc", "is made by the kernel"}, {"/sys", "is made by the kernel"}, {"/dev", "is made by the kernel"},
	{"/run", "is emptied at every boot"}, {"/var/lib/agi-core", "lies on the state partition"},
}

// place checks an absolute path of the appliance.
func (d *decoder) place(at, p string, hint string) {
	if p == "" || d.bad[at] {
		return
	}
	switch {
	case slices.Contains(strings.Split(p, "/"), ".."):
		d.wrong(at, hint, "%s escapes the tree: .. is not allowed", quote(p))
	case !path.IsAbs(p):
		d.wrong(at, hint, "%s is not %s", quote(p), absoluteWords)
	case p == "/":
		d.wrong(at, hint, "the root itself cannot stand here")
	case path.Clean(p) != p:
		d.wrong(at, fmt.Sprintf("write %q", path.Clean(p)), "%s is not written plainly", quote(p))
	}
	for _, e := range elsewhere {
		if p == e.dir || strings.HasPrefix(p, e.dir+"/") {
			d.wrong(at, hint, "%s cannot hold anything of the recipe: %s %s", quote(p), e.dir, e.why)
		}
	}
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
