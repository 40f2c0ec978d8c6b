package rootfs

import (
	"strings"

	"github.com/agibake/agibake/firmware"
)

// CoreImage is where a System keeps GRUB's BIOS core image. boot.img stays at usr/lib/grub/i386-pc/boot.img.
const CoreImage = "usr/lib/agibake/core.img"

// runner runs a program of the tree, under a name for the person who waits.
type runner func(what, name string, args ...string) error

// kernelFiles makes the module index of a kernel, and the initramfs that a System starts with.
func kernelFiles(r *root, o Options, version string, run runner) error {
	if r.exists("usr/sbin/depmod") {
		if err := run("module index", "/usr/sbin/depmod", "-a", "-F", "/boot/System.map-"+version, version); err != nil {
			return err
		}
	}
	if o.Kind != System {
		return nil
	}
	if !r.exists("usr/sbin/update-initramfs") {
		return inputError("kernel %s needs an initramfs and the packages have none: add initramfs-tools", version)
	}
	return run("initramfs", "/usr/sbin/update-initramfs", "-c", "-k", version)
}

// kernels lists the versions of /boot/vmlinuz-VERSION.
func (r *root) kernels() ([]string, error) {
	names, err := r.readDir("boot")
	var versions []string
	for _, n := range names {
		if v, ok := strings.CutPrefix(n, "vmlinuz-"); ok {
			versions = append(versions, v)
		}
	}
	return versions, err
}

func coreImage(r *root, run runner) error {
	if !r.exists("usr/lib/grub/i386-pc/boot.img") {
		return nil
	}
	if !r.exists("usr/bin/grub-mkimage") {
		return inputError("grub-pc-bin needs grub-mkimage to make the core image: add the package grub-common")
	}
	if err := r.mkdirAll("usr/lib/agibake"); err != nil {
		return err
	}
	args := append([]string{"-O", "i386-pc", "-p", firmware.Prefix, "-o", "/" + CoreImage}, firmware.CoreModules()...)
	return run("grub core image", "/usr/bin/grub-mkimage", args...)
}
