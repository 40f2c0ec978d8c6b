package disk

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/agibake/agibake/internal/disk/gpt"
)

// bootCode patches GRUB's images as grub-bios-setup does for a disk with a BIOS boot partition: boot.img loads the
// first sector of core.img, which loads the rest by the block list at its end.
func bootCode(l Layout, s Spec) (boot, core []byte, err error) {
	if len(s.BootImage) == 0 && len(s.CoreImage) == 0 {
		return nil, nil, nil
	}
	if len(s.BootImage) != gpt.SectorSize {
		return nil, nil, fmt.Errorf("write disk: boot.img has %d bytes, not 512", len(s.BootImage))
	}
	if len(s.CoreImage) <= gpt.SectorSize || int64(len(s.CoreImage)) > l.BIOSBoot.Size {
		return nil, nil, fmt.Errorf("write disk: core.img has %d bytes, not between 513 and %d", len(s.CoreImage), l.BIOSBoot.Size)
	}
	const (
		kernelSector = 0x5C // u64: where core.img begins
		bootDrive    = 0x64 // 0xFF: the drive that the BIOS names
		driveCheck   = 0x66 // two no-operations instead of a jump, for BIOSes that name the wrong drive
		blockList    = 0x1F4
		loadSegment  = 0x820
	)
	le := binary.LittleEndian
	start := uint64(l.BIOSBoot.Start / gpt.SectorSize)
	boot = slices.Clone(s.BootImage[:gpt.CodeSize])
	le.PutUint64(boot[kernelSector:], start)
	boot[bootDrive] = 0xFF
	boot[driveCheck], boot[driveCheck+1] = 0x90, 0x90

	core = slices.Clone(s.CoreImage)
	sectors := (len(core) + gpt.SectorSize - 1) / gpt.SectorSize
	le.PutUint64(core[blockList:], start+1)
	le.PutUint16(core[blockList+8:], uint16(sectors-1))
	le.PutUint16(core[blockList+10:], loadSegment)
	return boot, core, nil
}
