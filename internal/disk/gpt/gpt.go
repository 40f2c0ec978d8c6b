// Package gpt writes a GUID partition table (UEFI Specification 2.10, section 5) and the boot sector before it.
//
// go-diskfs encodes the table. The boot sector is made here, because it carries GRUB's code beside the protective
// partition, and because that partition must end at 0xFFFFFFFF on disks over 2 TiB.
package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	diskgpt "github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/agibake/agibake/internal/epoch"
)

// SectorSize is the logical sector in bytes.
const SectorSize = 512

// CodeSize is the room for boot code in the boot sector, in bytes.
const CodeSize = 440

// Partition types.
const (
	BIOSBoot   = "21686148-6449-6E6F-744E-656564454649"
	EFISystem  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	LinuxFiles = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

// Partition is one entry. Start and Size are in bytes and multiples of SectorSize.
type Partition struct {
	Name  string // at most 36 characters
	Type  string // GUID in text form
	GUID  [16]byte
	Start int64
	Size  int64
}

// Table is what Write writes.
type Table struct {
	GUID       [16]byte // of the disk
	Size       int64    // of the disk in bytes, a multiple of SectorSize
	Partitions []Partition
	Code       []byte // at most CodeSize bytes for the boot sector
}

// Write writes the boot sector, the table and its copy at the end of the disk.
func Write(w io.WriterAt, t Table) error {
	if len(t.Code) > CodeSize {
		return fmt.Errorf("boot code of %d bytes is more than %d", len(t.Code), CodeSize)
	}
	if t.Size < 1<<20 || t.Size%SectorSize != 0 {
		return fmt.Errorf("disk of %d bytes is too small or not whole sectors", t.Size)
	}
	table := &diskgpt.Table{LogicalSectorSize: SectorSize, PhysicalSectorSize: SectorSize, GUID: epoch.String(t.GUID)}
	end := int64(34 * SectorSize)
	for i, p := range t.Partitions {
		if p.Start < end || p.Size <= 0 || p.Start%SectorSize != 0 || p.Size%SectorSize != 0 || p.Start+p.Size > t.Size-33*SectorSize {
			return fmt.Errorf("partition %s does not fit at byte %d", p.Name, p.Start)
		}
		end = p.Start + p.Size
		table.Partitions = append(table.Partitions, &diskgpt.Partition{
			Index: i + 1, Name: p.Name, Type: diskgpt.Type(p.Type), GUID: epoch.String(p.GUID),
			Start: uint64(p.Start / SectorSize), Size: uint64(p.Size),
		})
	}
	if err := table.Write(target{WriterAt: w}, t.Size); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	if _, err := w.WriteAt(bootSector(t), 0); err != nil {
		return fmt.Errorf("write boot sector: %w", err)
	}
	return nil
}

// bootSector holds the code and one protective partition over the whole disk (section 5.2.3).
func bootSector(t Table) []byte {
	b := make([]byte, SectorSize)
	copy(b, t.Code)
	p := b[446:]
	p[2] = 0x02 // first sector, in cylinders, heads and sectors
	p[4] = 0xEE
	p[5], p[6], p[7] = 0xFF, 0xFF, 0xFF
	binary.LittleEndian.PutUint32(p[8:], 1)
	binary.LittleEndian.PutUint32(p[12:], uint32(min(t.Size/SectorSize-1, 0xFFFFFFFF)))
	b[510], b[511] = 0x55, 0xAA
	return b
}

// target shows a WriterAt as the file that go-diskfs asks for. It has no Sync: the owner of the disk syncs once.
type target struct{ io.WriterAt }

var errWriteOnly = errors.New("write only")

func (target) ReadAt([]byte, int64) (int, error) { return 0, errWriteOnly }
func (target) Read([]byte) (int, error)          { return 0, errWriteOnly }
func (target) Seek(int64, int) (int64, error)    { return 0, errWriteOnly }
func (target) Stat() (fs.FileInfo, error)        { return nil, errWriteOnly }
func (target) Close() error                      { return nil }
