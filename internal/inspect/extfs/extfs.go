// Package extfs reads ext4 file systems without mounting them, for inspection. It follows the kernel's "ext4 Data
// Structures and Algorithms". Its input may be hostile: every number is checked, and no file is larger than asked for.
package extfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	superOffset = 1024
	superSize   = 1024
	superMagic  = 0xEF53

	incompatMetaBG = 0x10
	incompat64     = 0x80
)

// FS is an opened file system.
type FS struct {
	Label, UUID      string
	BlockSize        int64
	Blocks, Free     int64 // blocks
	Inodes, FreeNode int64
	Clean            bool // unmounted cleanly, no errors noted
	Mounts           int  // since it was checked last
	Made, Written    time.Time
	Features         []string // names as dumpe2fs(8) shows them, those known here

	r              io.ReaderAt
	size           int64
	firstBlock     int64
	inodesPerGroup int64
	inodeSize      int64
	descSize       int64
}

// ErrMagic is returned for what is no ext file system at all.
var ErrMagic = errors.New("no ext2, ext3 or ext4 file system")

// features are the names of compat, incompat and ro_compat bits (e2fsprogs).
var features = [3]map[uint]string{
	{2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index", 9: "sparse_super2", 10: "fast_commit"},
	{1: "filetype", 2: "needs_recovery", 6: "extent", 7: "64bit", 8: "mmp", 9: "flex_bg", 13: "metadata_csum_seed", 14: "large_dir", 15: "inline_data", 16: "encrypt", 17: "casefold"},
	{0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize", 8: "quota", 9: "bigalloc", 10: "metadata_csum", 12: "read-only", 13: "project", 15: "verity", 16: "orphan_present"},
}

// Open reads the superblock of a file system of at most size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, superSize)
	if _, err := r.ReadAt(b, superOffset); err != nil {
		return nil, ErrMagic
	}
	le := binary.LittleEndian
	u32 := func(at int) int64 { return int64(le.Uint32(b[at:])) }
	if le.Uint16(b[56:]) != superMagic {
		return nil, ErrMagic
	}
	incompat := u32(96)
	if u32(24) > 6 {
		return nil, fmt.Errorf("ext4: block size 2^%d KiB", u32(24))
	}
	f := &FS{
		Label: text(b[120:136]), UUID: fmt.Sprintf("%x-%x-%x-%x-%x", b[104:108], b[108:110], b[110:112], b[112:114], b[114:120]),
		BlockSize: 1024 << u32(24), Blocks: u32(4), Free: u32(12), Inodes: u32(0), FreeNode: u32(16),
		Clean: le.Uint16(b[58:])&3 == 1, Mounts: int(le.Uint16(b[52:])), Made: time.Unix(u32(264), 0).UTC(), Written: time.Unix(u32(48), 0).UTC(),
		r: r, size: size, firstBlock: u32(20), inodesPerGroup: u32(40), inodeSize: 128, descSize: 32,
	}
	if u32(76) > 0 {
		f.inodeSize = int64(le.Uint16(b[88:]))
	}
	if incompat&incompat64 != 0 {
		f.descSize = int64(le.Uint16(b[254:]))
		f.Blocks |= u32(336) << 32
		f.Free |= u32(344) << 32
	}
	for i, word := range []int64{u32(92), incompat, u32(100)} {
		for bit := range uint(32) {
			if name := features[i][bit]; name != "" && word&(1<<bit) != 0 {
				f.Features = append(f.Features, name)
			}
		}
	}
	switch {
	case f.Blocks <= 0 || f.Blocks > size/f.BlockSize:
		return nil, fmt.Errorf("ext4: %d blocks of %d bytes do not fit in %d bytes", f.Blocks, f.BlockSize, size)
	case f.inodesPerGroup == 0 || f.inodeSize < 128 || f.inodeSize > f.BlockSize || f.descSize < 32 || f.descSize > f.BlockSize:
		return nil, errors.New("ext4: the superblock makes no sense")
	case incompat&incompatMetaBG != 0:
		return nil, errors.New("ext4: group descriptors in several places (meta_bg) are not read here")
	}
	return f, nil
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// block reads one block.
func (f *FS) block(number int64) ([]byte, error) {
	if number <= 0 || number >= f.Blocks {
		return nil, fmt.Errorf("ext4: no block %d", number)
	}
	b := make([]byte, f.BlockSize)
	_, err := f.r.ReadAt(b, number*f.BlockSize)
	return b, err
}
