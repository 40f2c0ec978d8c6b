package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// Partition is one part of a disk, or the disk itself where it has no table.
type Partition struct {
	Number     int         `json:"number"`
	Name       string      `json:"name,omitempty"`
	Type       string      `json:"type"`
	ID         string      `json:"id,omitempty"`
	Start      int64       `json:"start"` // bytes
	Size       int64       `json:"size"`  // bytes
	FileSystem *FileSystem `json:"fileSystem,omitempty"`
}

const sector = 512

// types names the partition types seen in appliances (UEFI specification and the Discoverable Partitions Specification).
var types = map[string]string{
	"21686148-6449-6e6f-744e-656564454649": "BIOS boot",
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
	"0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
	"4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
	"bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux boot",
	"933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
	"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
	"e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
	"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Windows data",
}

// mbrTypes does the same for the one-byte types of an MBR.
var mbrTypes = map[byte]string{0x05: "extended", 0x0b: "FAT32", 0x0c: "FAT32", 0x0f: "extended", 0x82: "Linux swap", 0x83: "Linux", 0x8e: "Linux LVM", 0xef: "EFI system", 0x07: "NTFS"}

// table reads the partition table: GPT, its copy at the disk's end where the first is damaged, or MBR.
func (r *Report) table(d device) {
	r.Table = "none"
	mbr := make([]byte, sector)
	if _, err := d.ReadAt(mbr, 0); err != nil || mbr[510] != 0x55 || mbr[511] != 0xAA {
		return
	}
	const protective = 0xee
	entries := mbr[446:510]
	if entries[4] == protective {
		r.Table = "gpt"
		err := r.gpt(d, sector)
		if err != nil {
			r.problem(err)
			if err = r.gpt(d, d.Size()-sector); err != nil {
				r.problem(fmt.Errorf("copy: %w", err))
			}
		}
		return
	}
	for i := range 4 {
		e := entries[i*16:]
		start, count := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		if e[4] == 0 || count == 0 || e[0]&0x7f != 0 || (start+count)*sector > d.Size() {
			continue
		}
		kind := mbrTypes[e[4]]
		if kind == "" {
			kind = fmt.Sprintf("type %#02x", e[4])
		}
		r.Table, r.DiskID = "mbr", fmt.Sprintf("%08x", binary.LittleEndian.Uint32(mbr[440:]))
		r.Partitions = append(r.Partitions, Partition{Number: i + 1, Type: kind, Start: start * sector, Size: count * sector})
	}
}

// gpt reads the GUID partition table whose header stands at off (UEFI specification, section 5.3).
func (r *Report) gpt(d device, off int64) error {
	le := binary.LittleEndian
	h := make([]byte, sector)
	if _, err := d.ReadAt(h, off); err != nil {
		return fmt.Errorf("read the GPT: %w", err)
	}
	const headerSize, least, most, maxEntries = 92, 128, 4096, 1024
	size, count, entry := le.Uint32(h[12:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	sum := le.Uint32(h[16:])
	if string(h[:8]) != "EFI PART" || size < headerSize || size > sector {
		return errors.New("the GPT header is missing")
	}
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:size]) != sum {
		return errors.New("the GPT header's checksum is wrong")
	}
	if count > maxEntries || entry < least || entry > most || le.Uint64(h[72:]) > uint64(d.Size())/sector {
		return fmt.Errorf("a GPT of %d entries of %d bytes is beyond the limits", count, entry)
	}
	list := make([]byte, int(count)*int(entry))
	if _, err := d.ReadAt(list, int64(le.Uint64(h[72:]))*sector); err != nil && err != io.EOF {
		return fmt.Errorf("read the GPT: %w", err)
	}
	if crc32.ChecksumIEEE(list) != le.Uint32(h[88:]) {
		return errors.New("the checksum of the GPT's entries is wrong")
	}
	r.DiskID = guid(h[56:])
	for i := range int(count) {
		e := list[i*int(entry):]
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		id := guid(e)
		if strings.Trim(id, "0-") == "" {
			continue
		}
		if first > last || last >= uint64(d.Size())/sector {
			r.problem(fmt.Errorf("partition %d lies outside of the disk", i+1))
			continue
		}
		kind := types[id]
		if kind == "" {
			kind = id
		}
		r.Partitions = append(r.Partitions, Partition{Number: i + 1, Name: utf16Text(e[56:128]), Type: kind, ID: guid(e[16:]),
			Start: int64(first) * sector, Size: int64(last-first+1) * sector})
	}
	return nil
}

// guid formats a GUID in the mixed byte order of the UEFI specification.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func utf16Text(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}
