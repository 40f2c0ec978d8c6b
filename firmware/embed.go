// Package firmware holds the boot chain's data: the GRUB configuration, one for BIOS and UEFI, and the module lists.
package firmware

import (
	_ "embed"
	"strings"
)

// Menu is boot/grub/grub.cfg, a text/template over MenuData. BIOS and UEFI read the same file. It loads no module:
// under Secure Boot a signed GRUB refuses them, so only commands built into grubx64.efi.signed may appear.
//
//go:embed grub.cfg.tmpl
var Menu string

// Stub is EFI/DISTRIBUTION/grub.cfg on the ESP, a text/template over MenuData: it finds the system partition and hands over.
//
//go:embed esp.cfg.tmpl
var Stub string

//go:embed i386-pc.modules
var coreModules string

// MenuData fills the templates.
type MenuData struct {
	Title      string // shown in the menu
	SystemUUID string // of the system file system
	Kernel     string // absolute path on the system partition
	Initrd     string // absolute path on the system partition
	Args       string // kernel arguments of every entry, after root=
}

// CoreModules lists the modules that core.img carries for BIOS, enough for Menu without any file of boot/grub/i386-pc.
func CoreModules() []string {
	var names []string
	for line := range strings.Lines(coreModules) {
		line, _, _ = strings.Cut(line, "#")
		names = append(names, strings.Fields(line)...)
	}
	return names
}

// Prefix is core.img's idea of where its files are: the system partition is the third of the boot disk (design, section 6).
const Prefix = "(,gpt3)/boot/grub"
