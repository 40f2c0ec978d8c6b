// Package vmdk writes disk images in VMware's streamOptimized form and reads sparse ones, as VMware's "Virtual Disk
// Format 5.0" defines them.
package vmdk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// GrainSize is the size in bytes of the grains that a Writer writes.
const GrainSize = grainSectors * sector

const (
	sector            = 512
	grainSectors      = 128
	tableEntries      = 512 // grains that one grain table maps
	descriptorSector  = 1
	descriptorSectors = 20
	magic             = 0x564d444b // "KDMV" in the file
	gdAtEnd           = ^uint64(0)
	algorithmDeflate  = 1

	flagNewlineTest = 1 << 0
	flagCompressed  = 1 << 16
	flagMarkers     = 1 << 17

	markerEnd, markerTable, markerDirectory, markerFooter = 0, 1, 2, 3
)

// header is the SparseExtentHeader, all fields little-endian.
type header struct {
	Magic, Version, Flags uint32
	Capacity, GrainSize   uint64 // sectors
	DescriptorOffset      uint64 // this and the following offsets and sizes are in sectors
	DescriptorSize        uint64
	TableEntries          uint32
	RedundantDirectory    uint64
	Directory             uint64
	Overhead              uint64
	Unclean               uint8
	NewlineTest           [4]byte
	Algorithm             uint16
	Padding               [433]byte
}

func (h *header) marshal() []byte {
	b, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		panic(err) // the struct has fixed-size fields only
	}
	return b
}

// newHeader returns the header of a streamOptimized image. ESXi wants version 3.
func newHeader(capacity int64) header {
	return header{
		Magic: magic, Version: 3, Flags: flagNewlineTest | flagCompressed | flagMarkers,
		Capacity: uint64(capacity) / sector, GrainSize: grainSectors,
		DescriptorOffset: descriptorSector, DescriptorSize: descriptorSectors,
		TableEntries: tableEntries, Directory: gdAtEnd, Overhead: grainSectors,
		NewlineTest: [4]byte{'\n', ' ', '\r', '\n'}, Algorithm: algorithmDeflate,
	}
}

// descriptor returns the text that describes the disk, padded to its sectors. It has no ddb.tools lines, which
// VirtualBox 5.2 rejects, and no UUID: importers give the copy one of its own.
func descriptor(capacity int64, cid uint32) []byte {
	const heads, sectors = 255, 63
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n", cid)
	fmt.Fprintf(&b, "\n# Extent description\nRDONLY %d SPARSE \"disk.vmdk\"\n", capacity/sector)
	fmt.Fprintf(&b, "\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n")
	fmt.Fprintf(&b, "ddb.geometry.cylinders = \"%d\"\n", max(1, capacity/(heads*sectors*sector)))
	fmt.Fprintf(&b, "ddb.geometry.heads = \"%d\"\nddb.geometry.sectors = \"%d\"\nddb.virtualHWVersion = \"15\"\n", heads, sectors)
	b.WriteString(strings.Repeat("\x00", descriptorSectors*sector-b.Len()))
	return b.Bytes()
}
