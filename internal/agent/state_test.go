package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

func TestGrow(t *testing.T) {
	const disk, start = 20 << 20, 4096
	full := int64(disk - start - 34)
	for name, c := range map[string]struct {
		disk, size, fs int64
		want           string // programs, in order
	}{
		"nothing to do": {disk, full, full - 6, ""},
		"aligned end":   {disk, full - 2000, full - 2006, ""},
		"larger disk":   {2 * disk, full, full - 6, "sfdisk sfdisk partx resize2fs"},
		"broken off":    {disk, full, full / 2, "resize2fs"},
	} {
		f := newFake(t)
		f.disk(t, c.disk, start, c.size, c.fs)
		for _, p := range []string{"sfdisk", "partx", "resize2fs"} {
			f.programs[p] = func(cmd tool.Cmd) error {
				if cmd.Name == "partx" {
					f.write(t, "/sys/devices/pci/block/vda/vda4/size", "41938944")
				}
				return nil
			}
		}
		if err := f.Grow(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var ran []string
		for _, r := range f.ran {
			ran = append(ran, strings.Fields(r)[0])
		}
		if got := strings.Join(ran, " "); got != c.want {
			t.Errorf("%s: ran %q, want %q", name, f.ran, c.want)
		}
	}
	f := newFake(t)
	f.disk(t, 2*disk, start, full, full-6)
	f.write(t, "/sys/devices/pci/block/vda/vda5/start", "30000000")
	if err := f.Grow(t.Context()); err != nil || len(f.ran) > 0 {
		t.Errorf("not the last partition: %v, ran %q", err, f.ran)
	}
}

// TestGrowAgainstSfdisk grows a real partition table in a file, as the kernel's half is told apart.
func TestGrowAgainstSfdisk(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk")
	sfdisk := func(stdin string, args ...string) string {
		c := referee.Command(t, "sfdisk", args...)
		c.Stdin = strings.NewReader(stdin)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("sfdisk %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	sfdisk("label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\nsize=2048, type=21686148-6449-6E6F-744E-656564454649\nsize=20480, type=U\nsize=20480\nname=state, uuid=66666666-2222-4333-8444-555555555555, attrs=\"LegacyBIOSBootable\"\n", image)
	if err := f.Truncate(256 << 20); err != nil {
		t.Fatal(err)
	}
	s := &System{Root: "/", Run: func(ctx context.Context, c tool.Cmd) error {
		if c.Name == "partx" {
			return nil
		}
		return tool.Run(ctx, c)
	}}
	if err := s.growPartition(t.Context(), partition{disk: image, number: 4}); err != nil {
		t.Fatal(err)
	}
	dump := sfdisk("", "--dump", image)
	for line := range strings.Lines(dump) {
		if strings.Contains(line, "name=\"state\"") && (!strings.Contains(line, "uuid=66666666-") || !strings.Contains(line, "LegacyBIOSBootable")) {
			t.Errorf("identity lost: %s", line)
		}
	}
	if v := sfdisk("", "--verify", image); !strings.Contains(v, "No errors detected") {
		t.Error(v)
	}
	// 256 MiB less the backup table of 33 sectors.
	if !strings.Contains(dump, "last-lba: 524254\n") || !strings.Contains(dump, "4 : start=       45056, size=      479199,") {
		t.Errorf("not grown to the end:\n%s", dump)
	}
}

func TestIdentity(t *testing.T) {
	f := newFake(t)
	f.disk(t, 20<<20, 4096, 20<<20-4096-34, 20<<20-4096-40)
	first := f.word("/etc/machine-id")
	boot := func() {
		t.Helper()
		if err := f.State(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	boot()
	if got := f.word(wire.StateRoot + "/" + identityName); got != `{"machineID":"`+first+`","productUUID":"11111111-1111-4111-8111-111111111111"}` {
		t.Errorf("identity = %s", got)
	}
	for _, k := range []string{"ed25519", "ecdsa"} {
		if got := f.word("/etc/ssh/ssh_host_" + k + "_key"); got != "key of "+k {
			t.Errorf("host key %s = %q", k, got)
		}
	}
	f.write(t, "/etc/ssh/ssh_host_ed25519_key", "mine")
	f.write(t, "/var/lib/docker/engine-id", "engine")
	keygens := len(f.ran)

	boot() // again: nothing changes
	if f.word("/etc/machine-id") != first || f.word("/etc/ssh/ssh_host_ed25519_key") != "mine" || len(f.ran) != keygens {
		t.Errorf("second boot changed the identity; ran %q", f.ran[keygens:])
	}

	f.write(t, "/sys/class/dmi/id/product_uuid", "22222222-2222-4222-8222-222222222222\n")
	boot() // a copy of the machine
	second := f.word("/etc/machine-id")
	if second == first || !machineID.MatchString(second) {
		t.Errorf("clone's machine-id = %q", second)
	}
	if f.word("/etc/ssh/ssh_host_ed25519_key") == "mine" || f.exists("/var/lib/docker/engine-id") {
		t.Error("clone kept host key or engine id")
	}
	if info, err := os.Stat(f.path("/var/lib/systemd/random-seed")); err != nil || info.Size() != 512 || info.Mode().Perm() != 0o600 {
		t.Errorf("random seed: %v", err)
	}
	boot()
	if f.word("/etc/machine-id") != second {
		t.Error("clone changed again")
	}

	f.write(t, "/etc/machine-id", strings.Repeat("ef", 16)) // the state was moved to another machine
	f.write(t, "/sys/class/dmi/id/product_uuid", "33333333-3333-4333-8333-333333333333\n")
	f.write(t, "/etc/ssh/ssh_host_ed25519_key", "theirs")
	boot()
	if f.word("/etc/machine-id") != strings.Repeat("ef", 16) || f.word("/etc/ssh/ssh_host_ed25519_key") != "theirs" {
		t.Error("moved state made the machine change its identity")
	}
	f.write(t, wire.StateRoot+"/"+identityName, "{damaged")
	boot()
	if f.word("/etc/machine-id") != strings.Repeat("ef", 16) {
		t.Error("damaged record made the machine change its identity")
	}
	leftovers, _ := filepath.Glob(f.path("/etc/ssh/.agid-*"))
	if len(leftovers) > 0 {
		t.Errorf("left behind: %s", leftovers)
	}
}

func TestProductUUID(t *testing.T) {
	f := newFake(t)
	for in, want := range map[string]string{
		"": "", "Not Settable": "", "00000000-0000-0000-0000-000000000000": "", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF": "",
		"4C4C4544-0000-2010-8020-80C04F202020": "4c4c4544-0000-2010-8020-80c04f202020",
	} {
		f.write(t, "/sys/class/dmi/id/product_uuid", in+"\n")
		if got := f.productUUID(); got != want {
			t.Errorf("product UUID %q = %q, want %q", in, got, want)
		}
	}
}

// TestStateWithoutPartition: the machine still gets its host keys, and the fault is told.
func TestStateWithoutPartition(t *testing.T) {
	f := newFake(t)
	f.write(t, "/proc/self/mountinfo", "22 1 253:3 / / rw - ext4 /dev/vda3 rw\n")
	f.ext4(t, "vda3", 1<<30, "agi-system")
	err := f.State(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no disk holds the state partition") {
		t.Errorf("error %v", err)
	}
	if !f.exists("/etc/ssh/ssh_host_ed25519_key") {
		t.Errorf("ran %q", f.ran)
	}
	if f.exists(wire.StateRoot) {
		t.Error("wrote below the mount point")
	}
}

func TestMount(t *testing.T) {
	for name, c := range map[string]struct {
		uuid  string
		parts map[string]string // partition → label
		check int               // e2fsck's exit status
		want  string            // what is mounted, "" for nothing
	}{
		"by UUID":        {"75756964-206f-6620-7364-613420202020", map[string]string{"sda3": "agi-state", "sda4": "other"}, 0, "/dev/sda4"},
		"repaired":       {"", map[string]string{"sda4": "agi-state"}, 1, "/dev/sda4"},
		"by label":       {"00", map[string]string{"sda3": "agi-system", "sda4": "agi-state"}, 0, "/dev/sda4"},
		"two of a label": {"", map[string]string{"sda4": "agi-state", "sdb4": "agi-state"}, 0, ""},
		"damaged":        {"", map[string]string{"sda4": "agi-state"}, 4, ""},
		"none":           {"", map[string]string{"sda3": "agi-system"}, 0, ""},
	} {
		f := newFake(t)
		f.write(t, "/proc/self/mountinfo", "22 1 253:3 / / rw - ext4 /dev/vda3 rw\n")
		for p, label := range c.parts {
			f.ext4(t, p, 1<<30, label)
		}
		f.programs["e2fsck"] = func(tool.Cmd) error {
			if c.check == 0 {
				return nil
			}
			return exec.Command("sh", "-c", fmt.Sprint("exit ", c.check)).Run()
		}
		f.programs["mount"] = func(tool.Cmd) error { return nil }
		err := f.Mount(t.Context(), c.uuid)
		mounted := slices.Contains(f.ran, "mount -t ext4 -o noatime "+c.want+" /var/lib/agi-core")
		if mounted != (c.want != "") || (err == nil) != mounted {
			t.Errorf("%s: %v, ran %q", name, err, f.ran)
		}
	}
}

func TestSuperblockAgainstMkfs(t *testing.T) {
	s := &System{Root: "/"}
	image := filepath.Join(t.TempDir(), "fs")
	referee.Run(t, "mkfs.ext4", "-q", "-L", "agi-state", "-U", "01234567-89ab-8def-8123-456789abcdef", "-E", "hash_seed=01234567-89ab-8def-8123-456789abcdef", image, "24M")
	fs, err := s.superblock(image)
	if want := (superblock{24 << 20, "01234567-89ab-8def-8123-456789abcdef", "agi-state"}); err != nil || fs != want {
		t.Errorf("superblock = %+v, %v; want %+v", fs, err, want)
	}
	if err := os.WriteFile(image, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if fs, err := s.superblock(image); err == nil {
		t.Errorf("zeros are a file system: %+v", fs)
	}
}

func TestFirmware(t *testing.T) {
	f := newFake(t)
	name := "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	for _, c := range []struct{ file, text, want string }{
		{"/x", "", "bios"}, {"/sys/firmware/efi/x", "", "uefi"}, {name, "\x06\x00\x00\x00\x00", "uefi"}, {name, "\x06\x00\x00\x00\x01", "secureboot"},
	} {
		f.write(t, c.file, c.text)
		if got := f.firmware(); got != c.want {
			t.Errorf("%s: %s, want %s", c.file, got, c.want)
		}
	}
}
