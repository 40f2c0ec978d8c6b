package configure

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/agibake/agibake/firmware"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tree"
)

// kernelArgs: the serial port comes first and the screen last, so that a machine without a serial port still has its
// console; the agent writes its verdict to both.
const kernelArgs = "console=ttyS0,115200 console=tty0"

// menu writes boot/grub/grub.cfg, which both firmwares read.
func menu(b *builder, o Options) error {
	kernel, initrd, err := kernels(b.all)
	if err != nil {
		return input(fault.Hint(err, "name a kernel package in base.kernel, such as linux-image-virtual"))
	}
	r := o.Lock.Recipe
	title := strings.Map(func(c rune) rune {
		if c < ' ' || strings.ContainsRune(`'"\$`, c) {
			return -1
		}
		return c
	}, r.Name+" "+r.Version)
	data, err := fill(firmware.Menu, firmware.MenuData{
		Title: title, SystemUUID: o.SystemUUID, Kernel: kernel, Initrd: initrd, Args: kernelArgs,
	})
	if err != nil {
		return err
	}
	return b.file("/boot/grub/grub.cfg", data, 0o644)
}

// kernels finds the newest kernel that has an initrd.
func kernels(t *tree.Tree) (kernel, initrd string, err error) {
	var versions []string
	for _, e := range t.Entries() {
		if v, ok := strings.CutPrefix(e.Path, "boot/vmlinuz-"); ok && e.Type == tree.File && !strings.Contains(v, "/") {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return "", "", fmt.Errorf("the system has no kernel in /boot")
	}
	slices.SortFunc(versions, compareVersions)
	v := versions[len(versions)-1]
	if t.Lookup("boot/initrd.img-"+v) == nil {
		return "", "", fmt.Errorf("kernel %s has no /boot/initrd.img-%s", v, v)
	}
	return "/boot/vmlinuz-" + v, "/boot/initrd.img-" + v, nil
}

// compareVersions orders kernel versions: runs of digits by value, the rest by bytes.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := versionPart(a)
		y, restB := versionPart(b)
		m, errA := strconv.ParseUint(x, 10, 64)
		n, errB := strconv.ParseUint(y, 10, 64)
		if errA == nil && errB == nil && m != n {
			if m < n {
				return -1
			}
			return 1
		}
		if c := strings.Compare(x, y); c != 0 && (errA != nil || errB != nil) {
			return c
		}
		a, b = restA, restB
	}
	return len(a) - len(b)
}

func versionPart(s string) (part, rest string) {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	i := 1
	for i < len(s) && digit(s[i]) == digit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}

// ESP returns the content of the EFI system partition: shim, GRUB and MOK manager as the distribution signed them, at the
// fallback path (UEFI specification, section 3.5.1.1), so that firmware with empty NVRAM finds them.
func ESP(system *tree.Tree, o Options) (*tree.Tree, error) {
	id, err := distribution(system)
	if err != nil {
		return nil, err
	}
	t, epoch := tree.New(), o.Lock.Epoch
	for _, f := range []struct {
		to, pkg string
		from    []string // the first that is there
	}{
		{"EFI/BOOT/BOOTX64.EFI", "shim-signed", []string{"usr/lib/shim/shimx64.efi.signed.latest", "usr/lib/shim/shimx64.efi.signed"}},
		{"EFI/BOOT/grubx64.efi", "grub-efi-amd64-signed", []string{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"}},
		{"EFI/BOOT/mmx64.efi", "shim-signed", []string{"usr/lib/shim/mmx64.efi.signed", "usr/lib/shim/mmx64.efi"}},
	} {
		e, err := firstFile(system, f.from)
		if err != nil {
			return nil, input(fault.Hint(fmt.Errorf("EFI boot chain: %w", err), "add the package "+f.pkg+" to base.packages"))
		}
		if err := t.MkdirAll(path.Dir(f.to), epoch); err != nil {
			return nil, err
		}
		if err := t.Put(tree.Entry{Path: f.to, Type: tree.File, Mode: 0o644, ModTime: epoch, Size: e.Size, Open: e.Open}); err != nil {
			return nil, err
		}
	}
	stub, err := fill(firmware.Stub, firmware.MenuData{SystemUUID: o.SystemUUID})
	if err != nil {
		return nil, err
	}
	return t, t.WriteFile("EFI/"+id+"/grub.cfg", stub, 0o644, epoch)
}

// BIOS returns boot.img for the master boot record and core.img for the BIOS boot partition.
func BIOS(system *tree.Tree) (boot, core []byte, err error) {
	if boot, err = system.ReadFile("usr/lib/grub/i386-pc/boot.img"); err != nil {
		return nil, nil, input(fault.Hint(fmt.Errorf("BIOS boot chain: %w", err), "add the package grub-pc-bin to base.packages"))
	}
	if core, err = system.ReadFile("usr/lib/agibake/core.img"); err != nil {
		return nil, nil, fmt.Errorf("BIOS boot chain: %w", err)
	}
	return boot, core, nil
}

// firstFile returns the first of names that is a file, links followed.
func firstFile(t *tree.Tree, names []string) (*tree.Entry, error) {
	for _, n := range names {
		p, err := t.Resolve(n)
		for err == nil && t.Lookup(p).Type == tree.Hardlink {
			p, err = t.Resolve(t.Lookup(p).Link)
		}
		if err == nil && t.Lookup(p).Type == tree.File {
			return t.Lookup(p), nil
		}
	}
	return nil, fmt.Errorf("/%s is not in the system", names[0])
}

// distribution returns the ID of os-release(5), which is also the folder that the signed GRUB looks in.
func distribution(t *tree.Tree) (string, error) {
	data, err := t.ReadFile("etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(line, "ID="); ok {
			if id = strings.Trim(strings.TrimSpace(id), `"'`); id == "ubuntu" || id == "debian" {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("os-release names neither ubuntu nor debian")
}

func fill(text string, data firmware.MenuData) ([]byte, error) {
	t, err := template.New("grub.cfg").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("grub.cfg: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("grub.cfg: %w", err)
	}
	return out.Bytes(), nil
}
