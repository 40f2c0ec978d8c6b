package vm

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/fault"
)

// Firmware is what starts the machine.
type Firmware string

// The firmwares. SecureBoot enforces signatures with the stock Microsoft keys.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secureboot"
)

// firmwareFiles are the OVMF code and variable store of Debian and Ubuntu (package ovmf), the first pair that exists.
var firmwareFiles = map[Firmware][][2]string{
	UEFI:       {{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}, {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"}},
	SecureBoot: {{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"}, {"/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"}},
}

// firmwareArgs returns QEMU's arguments for f. The variable store is copied into dir, once, so that a named machine
// keeps its own.
func firmwareArgs(f Firmware, dir string) ([]string, error) {
	if f == BIOS || f == "" {
		return []string{"-machine", "q35"}, nil
	}
	pairs, known := firmwareFiles[f]
	if !known {
		return nil, fault.Mark(fault.Usage, fmt.Errorf("firmware %q: not bios, uefi or secureboot", f))
	}
	for _, pair := range pairs {
		vars, err := os.ReadFile(pair[1])
		if err != nil {
			continue
		}
		own := filepath.Join(dir, string(f)+"-vars.fd")
		if _, err := os.Stat(own); err != nil {
			if err := os.WriteFile(own, vars, 0o600); err != nil {
				return nil, fmt.Errorf("prepare firmware: %w", err)
			}
		}
		machine := []string{"-machine", "q35"}
		if f == SecureBoot {
			machine = []string{"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"}
		}
		return append(machine, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(pair[0]),
			"-drive", "if=pflash,unit=1,format=raw,file="+escape(own)), nil
	}
	return nil, fault.Hint(fault.Mark(fault.Missing, fmt.Errorf("no %s firmware for QEMU found", f)), "sudo apt-get install ovmf")
}

// HasFirmware returns nil when this host can start machines with f.
func HasFirmware(f Firmware) error {
	dir, err := os.MkdirTemp("", "agibake-firmware-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, err = firmwareArgs(f, dir)
	return err
}
