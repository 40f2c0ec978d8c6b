package recipe

import (
	"slices"
	"strings"
)

// RequiredPackages lists, in order and once each, the packages that the boot chain, the units and what the recipe
// asks for cannot do without. Base.Packages is not among them.
func (r *Recipe) RequiredPackages() []string {
	list := []string{
		r.Base.Kernel,
		// The initramfs hooks fail without e2fsprogs, fdisk and kmod; the agent grows the state partition with them.
		"initramfs-tools", "zstd", "e2fsprogs", "fdisk", "kmod", "udev",
		"systemd-sysv", "systemd-timesyncd", "libpam-systemd", "dbus",
		"cloud-init", "netplan.io", "iproute2", "openssh-server", "ca-certificates", "sudo", "grub2-common",
	}
	if r.Base.Distribution == "debian" && r.Base.Release != "bullseye" {
		list = append(list, "systemd-resolved") // ubuntu 22.04 holds it in systemd
	}
	for _, f := range r.Machine.Firmware {
		switch f {
		case "bios":
			list = append(list, "grub-pc-bin")
		case "uefi":
			list = append(list, "grub-efi-amd64-signed", "shim-signed")
		}
	}
	if len(r.Containers) > 0 {
		list = append(list, "docker.io", choose(r.Base.Distribution == "ubuntu", "docker-compose-v2", "docker-compose"))
	}
	for _, s := range r.Shares {
		// virtiofs, 9p and vboxsf need only the kernel.
		if p := map[string]string{"nfs": "nfs-common", "smb": "cifs-utils", "vmhgfs": "open-vm-tools"}[s.Type]; p != "" {
			list = append(list, p)
		}
	}
	list = append(list, r.gpuPackages()...)
	slices.Sort(list)
	return slices.Compact(list)
}

// gpuPackages lists the driver, built and signed by Canonical for the very kernel that the recipe names.
func (r *Recipe) gpuPackages() []string {
	if r.GPU == nil {
		return nil
	}
	flavour := strings.TrimPrefix(r.Base.Kernel, "linux-image-")
	if rest, ok := strings.CutPrefix(flavour, "virtual"); ok {
		flavour = "generic" + rest // the same kernel, with fewer packages around it
	}
	branch := strings.TrimSuffix(r.GPU.Driver, "-open")
	return []string{
		"linux-modules-nvidia-" + r.GPU.Driver + "-" + flavour,
		"nvidia-utils-" + branch, "nvidia-compute-utils-" + branch, "libnvidia-compute-" + branch,
	}
}
