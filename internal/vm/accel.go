package vm

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/agibake/agibake/internal/tool"
)

const qemu = "qemu-system-x86_64"

// probe is a boot sector that ends QEMU with status 33 through the isa-debug-exit device:
// mov dx,0xf4; mov al,0x10; out dx,al; hlt.
var probe = []byte{0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4, 0xeb, 0xfd}

// Accel returns "kvm" where KVM runs a guest, else "tcg". A /dev/kvm that opens may still be unable to run one,
// so a guest of nine bytes is run.
func Accel(ctx context.Context) string {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return "tcg"
	} else {
		f.Close()
	}
	dir, err := os.MkdirTemp("", "agibake-kvm-")
	if err != nil {
		return "tcg"
	}
	defer os.RemoveAll(dir)
	sector := make([]byte, 512)
	copy(sector, probe)
	sector[510], sector[511] = 0x55, 0xaa
	disk := filepath.Join(dir, "probe.img")
	if err := os.WriteFile(disk, sector, 0o600); err != nil {
		return "tcg"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = tool.Run(ctx, tool.Cmd{Name: qemu, Args: []string{"-accel", "kvm", "-cpu", "host", "-machine", "pc", "-m", "64",
		"-nodefaults", "-display", "none", "-drive", "file=" + disk + ",format=raw", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"}})
	if tool.ExitCode(err) == 33 {
		return "kvm"
	}
	return "tcg"
}

// processors is how many processors a guest may have here. Emulated by QEMU 6.2 (Ubuntu 22.04), a guest with several
// stops for ever in its first call of the firmware that enters system management mode, which Secure Boot needs. QEMU
// 7.2 and newer do not show this.
func processors(ctx context.Context, o Options) int {
	if o.Accel == "kvm" || o.Firmware != SecureBoot {
		return o.CPUs
	}
	if version, err := tool.Version(ctx, qemu); err == nil && version != "" && tool.Older(version, "7.2") {
		return 1
	}
	return o.CPUs
}
