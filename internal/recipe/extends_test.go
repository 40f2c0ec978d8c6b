package recipe

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const kind = "apiVersion: agibake/v1\nkind: Appliance\n"

func TestExtends(t *testing.T) {
	write(t, map[string]string{
		"base/b.yaml": kind + `
name: base
version: 0.1.0
base: {packages: [less, nano], release: noble}
machine: {cpus: 8, firmware: [bios]}
gpu: {driver: "580-server"}
files: [{path: /a, source: a.txt}]
agent: {modes: {A: {systemPrompt: a, temperature: 1}}}
`,
		"base/a.txt": "a",
		"mid.yaml": kind + `
extends: ${WHERE}/b.yaml
version: 0.2.0
machine: {cpus: 4}
agent: {modes: {A: {systemPrompt: b}, B: {systemPrompt: b}}}
`,
		"r.yaml": kind + `
extends: mid.yaml
name: child
base: {packages: [htop]}
machine: {cpus: , firmware: !replace [uefi]}
gpu: !replace
files: [{path: /b, source: b.txt}]
`,
		"b.txt": "b",
	})
	r := parse(t, Options{Set: map[string]string{"WHERE": "base"}})
	dir, _ := os.Getwd()
	one := 1.0
	got := []any{r.Name, r.Version, r.Extends, r.Base.Packages, r.Base.Release, r.Machine.CPUs, r.Machine.Firmware, r.GPU, r.Files, r.Agent.Modes}
	want := []any{"child", "0.2.0", "", []string{"less", "nano", "htop"}, "noble", 4, []string{"uefi"}, (*GPU)(nil),
		[]File{
			{Path: "/a", Source: filepath.Join(dir, "base/a.txt"), Mode: "0644", Owner: "root:root"},
			{Path: "/b", Source: filepath.Join(dir, "b.txt"), Mode: "0644", Owner: "root:root"},
		},
		map[string]Mode{"A": {SystemPrompt: "b", Temperature: &one}, "B": {SystemPrompt: "b"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPositions(t *testing.T) {
	write(t, map[string]string{
		"b.yaml": kind + "base:\n  packages:\n    - less\nmachine: {cpus: 1}\n",
		"r.yaml": kind + "extends: b.yaml\nname: x\nversion: '1'\nbase:\n  packages:\n    - nano\n    - htop\n" +
			"agent:\n  modes:\n    A.B: {systemPrompt: x}\n",
	})
	// A name with a dot is no mode.
	if _, err := Parse("r.yaml", Options{}); err == nil || !strings.Contains(err.Error(), "r.yaml:12:5: agent.modes.A.B: ") {
		t.Errorf("%v", err)
	}
	text, _ := os.ReadFile("r.yaml")
	os.WriteFile("r.yaml", []byte(strings.Replace(string(text), "A.B", "AB", 1)), 0o644)
	r := parse(t, Options{})
	got := map[string]string{}
	for _, path := range []string{"", "name", "base", "base.packages", "base.packages[0]", "base.packages[2]", "base.packages[7]", "base.kernel",
		"machine.cpus", "machine.memory", "agent.modes.AB.systemPrompt", "agent.modes.ZZ", "gpu.driver"} {
		got[path] = r.Position(path)
	}
	want := map[string]string{
		"": "r.yaml:1:1", "name": "r.yaml:4:7", "base": "r.yaml:7:3", "base.packages": "r.yaml:8:5", "base.packages[0]": "b.yaml:5:7",
		"base.packages[2]": "r.yaml:9:7", "base.packages[7]": "r.yaml:8:5", "base.kernel": "r.yaml:7:3", "machine.cpus": "b.yaml:6:17",
		"machine.memory": "b.yaml:6:10", "agent.modes.AB.systemPrompt": "r.yaml:12:24", "agent.modes.ZZ": "r.yaml:12:5", "gpu.driver": "r.yaml:1:1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p := (&Recipe{}).Position("name"); p != "" {
		t.Errorf("position without a file: %q", p)
	}
}

func TestExtendsFaults(t *testing.T) {
	long := map[string]string{}
	for i := range maxChain + 2 {
		long[fmt.Sprintf("l%d.yaml", i)] = kind + fmt.Sprintf("extends: l%d.yaml\n", i+1)
	}
	long["r.yaml"] = head + "extends: l0.yaml\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"circle", map[string]string{"r.yaml": head + "extends: a.yaml\n", "a.yaml": kind + "extends: d/b.yaml\n", "d/b.yaml": kind + "extends: ../a.yaml\n"},
			"d/b.yaml:3:10: extends goes in a circle: a.yaml → b.yaml → a.yaml"},
		{"itself", map[string]string{"r.yaml": head + "extends: r.yaml\n"}, "r.yaml:5:10: extends goes in a circle: r.yaml → r.yaml"},
		{"missing", map[string]string{"r.yaml": head + "extends: no.yaml\n"}, "r.yaml:5:10: extends: no.yaml: no such file or directory"},
		{"a folder", map[string]string{"r.yaml": head + "extends: .\n"}, "r.yaml:5:10: extends: . is not a file"},
		{"a list", map[string]string{"r.yaml": head + "extends: [a]\n"}, "r.yaml:5:10: extends: expected text, found a list"},
		{"too many", long, "l14.yaml:3:10: extends: more than 16 files extend each other"},
		{"no recipe", map[string]string{"r.yaml": head + "extends: a.yaml\n", "a.yaml": "foo: 1\n"},
			"a.yaml:1:1: missing key \"apiVersion\"; write apiVersion: agibake/v1\na.yaml:1:1: missing key \"kind\"; write kind: Appliance\n" +
				"a.yaml:1:1: unknown key \"foo\""},
		{"faults of all files", map[string]string{"r.yaml": head + "extends: a.yaml\nbsae: 1\n", "a.yaml": kind + "machine: {cpus: x}\n"},
			"r.yaml:6:1: unknown key \"bsae\"; did you mean \"base\"?\na.yaml:3:17: machine.cpus: expected a whole number, found the text \"x\""},
		{"unset variable", map[string]string{"r.yaml": head + "extends: ${NO}\n"},
			"r.yaml:5:10: variable NO is not set; set it with --set NO=VALUE or in the environment, or write $${NO} for the text itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, test.files)
			_, err := Parse("r.yaml", Options{})
			if err == nil {
				t.Fatal("no fault found")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAliases(t *testing.T) {
	write(t, map[string]string{"r.yaml": head + "base: {packages: &p [less], components: [main]}\nagent: {modes: {A: &m {systemPrompt: x}, B: *m}}\n"})
	if r := parse(t, Options{}); r.Agent.Modes["B"].SystemPrompt != "x" {
		t.Error("an alias got lost")
	}
	bomb := head + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	for name, text := range map[string]string{
		"holds more than 50000 values": bomb,
		"nested more than 50 deep":     head + "base: &b {packages: *b}\n",
		"nested more than 50 deep ":    head + "base: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "\n",
	} {
		write(t, map[string]string{"r.yaml": text})
		if _, err := Parse("r.yaml", Options{}); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLocalSources(t *testing.T) {
	write(t, map[string]string{
		"r.yaml": kind + "extends: sub/b.yaml\nname: x\nversion: '1'\nmodels: [{name: c, file: c, source: 'file:c'}]\n",
		"sub/b.yaml": kind + `
containers:
  - {name: a, image: {layout: lay}}
  - {name: b, image: {layout: "lay:v1"}}
  - {name: c, image: {archive: ../c}}
models:
  - {name: a, file: a, source: "file:../c"}
  - {name: b, file: b, source: "oci:lay:v2"}
  - {name: d, file: d, source: "oci://ghcr.io/o/m:1"}
sign: {key: key}
`,
		"sub/lay/index.json": "{}", "c": "c", "sub/key": "k",
	})
	dir, _ := os.Getwd()
	os.WriteFile("abs.yaml", []byte(kind+"name: x\nversion: '1'\nmodels: [{name: c, file: c, source: 'file://"+dir+"/c'}]\n"), 0o644)
	r := parse(t, Options{})
	got := []string{r.Containers[0].Image.Layout, r.Containers[1].Image.Layout, r.Containers[2].Image.Archive, r.Sign.Key}
	for _, m := range r.Models {
		got = append(got, m.Source)
	}
	abs, err := Parse("abs.yaml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	path, local := abs.Models[0].LocalPath()
	got = append(got, path, fmt.Sprint(local))
	want := []string{dir + "/sub/lay", dir + "/sub/lay:v1", dir + "/c", dir + "/sub/key",
		"file:" + dir + "/c", "oci:" + dir + "/sub/lay:v2", "oci://ghcr.io/o/m:1", "file:" + dir + "/c", dir + "/c", "true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequiredPackages(t *testing.T) {
	always := []string{"ca-certificates", "cloud-init", "dbus", "e2fsprogs", "fdisk", "grub2-common", "initramfs-tools", "iproute2", "kmod",
		"libpam-systemd", "netplan.io", "openssh-server", "sudo", "systemd-sysv", "systemd-timesyncd", "udev", "zstd"}
	for text, more := range map[string][]string{
		"machine: {firmware: [bios]}": {"linux-image-virtual", "grub-pc-bin"},
		"machine: {firmware: [uefi]}": {"linux-image-virtual", "grub-efi-amd64-signed", "shim-signed"},
		"containers: [{name: a, image: {registry: 'a/b:1'}}]\nmachine: {firmware: [bios]}": {"linux-image-virtual", "grub-pc-bin",
			"docker.io", "docker-compose-v2"},
		"base: {distribution: debian}\ncontainers: [{name: a, image: {registry: 'a/b:1'}}]\nmachine: {firmware: [bios]}": {
			"linux-image-cloud-amd64", "grub-pc-bin", "systemd-resolved", "docker.io", "docker-compose"},
		"gpu: {driver: 580-server-open}\nmachine: {firmware: [bios]}": {"linux-image-virtual", "grub-pc-bin",
			"linux-modules-nvidia-580-server-open-generic", "nvidia-utils-580-server", "nvidia-compute-utils-580-server", "libnvidia-compute-580-server"},
		"gpu: {driver: '535'}\nbase: {kernel: linux-image-virtual-hwe-22.04}\nmachine: {firmware: [bios]}": {"linux-image-virtual-hwe-22.04",
			"grub-pc-bin", "linux-modules-nvidia-535-generic-hwe-22.04", "nvidia-utils-535", "nvidia-compute-utils-535", "libnvidia-compute-535"},
		"shares: [{type: nfs, source: 'h:/a', target: /a}, {type: smb, source: //h/s, target: /b}, {type: vmhgfs, source: '.host:/a', target: /c}, " +
			"{type: vboxsf, source: a, target: /d}, {type: nfs, source: 'h:/b', target: /e}]\nmachine: {firmware: [bios]}": {
			"linux-image-virtual", "grub-pc-bin", "nfs-common", "cifs-utils", "open-vm-tools"},
	} {
		write(t, map[string]string{"r.yaml": head + text + "\n"})
		want := append(slices.Clone(always), more...)
		slices.Sort(want)
		if diff := cmp.Diff(want, parse(t, Options{}).RequiredPackages()); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestSize(t *testing.T) {
	want := map[string]Size{"1": 1, "1024": 1024, "512KiB": 512 << 10, "512MiB": 512 << 20, "16 GiB": 16 << 30, "2TiB": 2 << 40, "8388607TiB": 8388607 << 40}
	got := map[string]Size{}
	for _, s := range slices.Sorted(maps.Keys(want)) {
		size, err := ParseSize(s)
		if err != nil {
			t.Error(err)
		}
		got[s] = size
		if again, err := ParseSize(size.String()); again != size || err != nil {
			t.Errorf("%s: %s is read as %d, %v", s, size, again, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"", "GiB", "-1", "1.5GiB", "1GB", "1gib", "8388608TiB", "99999999999999999999", "0x10", "1GiB "} {
		if size, err := ParseSize(s); err == nil {
			t.Errorf("%q is read as %d", s, size)
		}
	}
}

func TestPortsAndMounts(t *testing.T) {
	ports := map[string]Port{
		"80:81":                 {"", 80, 81, "tcp"},
		"127.0.0.1:8081:80/udp": {"127.0.0.1", 8081, 80, "udp"},
		"[::1]:1:65535/tcp":     {"::1", 1, 65535, "tcp"},
	}
	for s, want := range ports {
		if got, err := ParsePort(s); got != want || err != nil {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "80", "0:80", "80:0", "a:80:80", "::1:80:80", "80:80/sctp", "80:80/", "300.1.1.1:80:80"} {
		if got, err := ParsePort(s); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		}
	}
	mounts := map[string]Mount{
		"models:/models:ro": {"models", "/models", true},
		"memory/a/b:/m":     {"memory/a/b", "/m", false},
		"logs:/l:rw":        {"logs", "/l", false},
	}
	for s, want := range mounts {
		if got, err := ParseMount(s); got != want || err != nil {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "models", "models:", "models:m", "models:/", "models/:/m", "models//a:/m", "models/..:/m", "models:/a/../..", "modelsx:/m", "models:/m:x", "../models:/m"} {
		if got, err := ParseMount(s); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		}
	}
}
