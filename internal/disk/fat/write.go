package fat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Write writes the file system to w, which must read as zeros where it is not written.
func (v *Volume) Write(ctx context.Context, w io.WriterAt) error {
	if err := v.write(ctx, w); err != nil {
		return fmt.Errorf("write file system %s: %w", v.o.Label, err)
	}
	return nil
}

func (v *Volume) write(ctx context.Context, w io.WriterAt) error {
	put := func(data []byte, at int64) error {
		_, err := w.WriteAt(data, at)
		return err
	}
	boot, info, table := v.bootSector(), v.infoSector(), v.table()
	err := errors.Join(
		put(boot, 0), put(info, sectorSize), put(boot, 6*sectorSize), put(info, 7*sectorSize),
		put(table, reserved*sectorSize), put(table, int64(reserved+v.tableSectors)*sectorSize),
		put(v.dirData(v.root), v.offset(rootCluster)))
	if err != nil {
		return err
	}
	for _, n := range v.files {
		switch {
		case n.isDir():
			err = put(v.dirData(n), v.offset(n.first))
		case n.count > 0:
			err = v.copyFile(ctx, w, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.entry.Path, err)
		}
	}
	return nil
}

func (v *Volume) copyFile(ctx context.Context, w io.WriterAt, n *node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := n.entry.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	copied, err := io.Copy(io.NewOffsetWriter(w, v.offset(n.first)), io.LimitReader(r, n.entry.Size+1))
	if err == nil && copied != n.entry.Size {
		err = fmt.Errorf("content is not of its stated size of %d bytes", n.entry.Size)
	}
	return errors.Join(err, r.Close())
}

// bootSector is the boot sector with the BIOS parameter block (section 3).
func (v *Volume) bootSector() []byte {
	b := make([]byte, sectorSize)
	copy(b, "\xEB\x58\x90AGIBAKE ") // a jump, and the maker's name
	le.PutUint16(b[11:], sectorSize)
	b[13] = uint8(v.clusterSize / sectorSize)
	le.PutUint16(b[14:], reserved)
	b[16] = 2                // tables
	b[21] = 0xF8             // fixed disk
	le.PutUint16(b[24:], 63) // sectors a track
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], v.o.Hidden)
	le.PutUint32(b[32:], v.sectors)
	le.PutUint32(b[36:], v.tableSectors)
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], 1) // information sector
	le.PutUint16(b[50:], 6) // copy of this sector
	b[64] = 0x80            // drive
	b[66] = 0x29            // the three fields below are there
	le.PutUint32(b[67:], v.o.VolumeID)
	copy(b[71:], v.label())
	copy(b[82:], "FAT32   ")
	copy(b[90:], "\xF4\xEB\xFD") // halt, for a BIOS that starts it
	b[510], b[511] = 0x55, 0xAA
	return b
}

// infoSector is the information sector (section 5).
func (v *Volume) infoSector() []byte {
	b := make([]byte, sectorSize)
	le.PutUint32(b[0:], 0x41615252)
	le.PutUint32(b[484:], 0x61417272)
	le.PutUint32(b[488:], v.clusters-(v.next-rootCluster)) // free
	le.PutUint32(b[492:], v.next)                          // where to look for a free one
	le.PutUint32(b[508:], 0xAA550000)
	return b
}

// table is the used part of the allocation table (section 4).
func (v *Volume) table() []byte {
	b := make([]byte, 4*v.next)
	le.PutUint32(b[0:], 0x0FFFFFF8)
	le.PutUint32(b[4:], endOfChain)
	for _, n := range append([]*node{v.root}, v.files...) {
		for i := range n.count {
			next := n.first + i + 1
			if i == n.count-1 {
				next = endOfChain
			}
			le.PutUint32(b[4*(n.first+i):], next)
		}
	}
	return b
}

func (v *Volume) label() string { return fmt.Sprintf("%-11s", v.o.Label) }

// dirSize is the size in bytes of a folder's entries, at least one.
func (n *node) dirSize() int64 {
	size := int64(64) // "." and "..", or the root's label
	for _, c := range n.children {
		size += 32
		if c.long {
			size += int64(len(longEntries(c.name, c.short)))
		}
	}
	return size
}

// dirData is the content of folder n (section 6).
func (v *Volume) dirData(n *node) []byte {
	var b []byte
	if n.parent == nil {
		b = append(b, dirEntry([11]byte([]byte(v.label())), 0x08, 0, 0, n.entry.ModTime)...)
	} else {
		up := n.parent.first
		if n.parent.parent == nil {
			up = 0
		}
		b = append(b, dirEntry(pack(".", ""), 0x10, n.first, 0, n.entry.ModTime)...)
		b = append(b, dirEntry(pack("..", ""), 0x10, up, 0, n.parent.entry.ModTime)...)
	}
	for _, c := range n.children {
		if c.long {
			b = append(b, longEntries(c.name, c.short)...)
		}
		attr := uint8(0x20) // archive
		if c.isDir() {
			attr = 0x10
		}
		b = append(b, dirEntry(c.short, attr, c.first, uint32(c.entry.Size), c.entry.ModTime)...)
	}
	return b
}

func dirEntry(name [11]byte, attr uint8, first, size uint32, mtime int64) []byte {
	b := make([]byte, 32)
	copy(b, name[:])
	b[11] = attr
	date, clock := diskTime(mtime)
	for _, at := range []int{14, 22} { // created, written
		le.PutUint16(b[at:], clock)
		le.PutUint16(b[at+2:], date)
	}
	le.PutUint16(b[18:], date) // read
	le.PutUint16(b[20:], uint16(first>>16))
	le.PutUint16(b[26:], uint16(first))
	le.PutUint32(b[28:], size)
	return b
}

// diskTime gives a time in UTC with two-second steps, cut to the years 1980 to 2107.
func diskTime(unix int64) (date, clock uint16) {
	const first, last = 315532800, 4354819198 // 1980-01-01 00:00:00, 2107-12-31 23:59:58
	t := time.Unix(min(max(unix, first), last), 0).UTC()
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock
}
