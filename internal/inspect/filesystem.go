package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/inspect/extfs"
	"github.com/agibake/agibake/internal/wire"
)

// FileSystem is what a partition holds.
type FileSystem struct {
	Type     string    `json:"type"`
	Label    string    `json:"label,omitempty"`
	UUID     string    `json:"uuid,omitempty"`
	Size     int64     `json:"size,omitempty"` // bytes; this and the following fields are known of ext4 only
	Free     int64     `json:"free,omitempty"` // bytes
	Clean    bool      `json:"clean,omitempty"`
	Made     time.Time `json:"made,omitzero"`
	Features []string  `json:"features,omitempty"`
}

// look reads the partition table, the file systems and the system in them.
func (r *Report) look(d device) {
	r.table(d)
	if r.Table == "none" {
		if fs := r.fileSystem(io.NewSectionReader(d, 0, d.Size())); fs != nil {
			r.Partitions = []Partition{{Type: "whole disk", Size: d.Size(), FileSystem: fs}}
		}
		return
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		p.FileSystem = r.fileSystem(io.NewSectionReader(d, p.Start, p.Size))
	}
}

// fileSystem recognizes what a partition holds, and reads the system or the state in it.
func (r *Report) fileSystem(s *io.SectionReader) *FileSystem {
	e, err := extfs.Open(s, s.Size())
	if errors.Is(err, extfs.ErrMagic) {
		return other(s)
	}
	if err != nil {
		r.problem(err)
		return &FileSystem{Type: "ext4"}
	}
	if r.System == nil {
		r.System = r.system(e)
	}
	if e.Label == wire.StateLabel {
		r.models(e)
	}
	kind := "ext4"
	if f := strings.Join(e.Features, " "); !strings.Contains(f, "extent") {
		kind = "ext2 or ext3"
	}
	return &FileSystem{Type: kind, Label: e.Label, UUID: e.UUID, Size: e.Blocks * e.BlockSize, Free: e.Free * e.BlockSize, Clean: e.Clean, Made: e.Made, Features: e.Features}
}

// magics are the marks of file systems that are named but not read.
var magics = []struct {
	at   int64
	mark string
	name string
}{
	{0, "XFSB", "xfs"}, {0, "hsqs", "squashfs"}, {0x10040, "_BHRfS_M", "btrfs"}, {4086, "SWAPSPACE2", "swap"},
	{0, "LUKS\xba\xbe", "LUKS"}, {512, "LABELONE", "LVM"}, {0x8001, "CD001", "ISO 9660"}, {3, "NTFS    ", "NTFS"}, {1024, "\xe2\xe1\xf5\xe0", "erofs"},
}

func other(s *io.SectionReader) *FileSystem {
	b := make([]byte, sector)
	if _, err := s.ReadAt(b, 0); err != nil {
		return nil
	}
	// Where a FAT keeps its number and label depends on its width (Microsoft's FAT specification, section 3.3).
	for _, fat := range []struct {
		kind     string
		mark, id int
	}{{"FAT32", 82, 67}, {"FAT16", 54, 39}, {"FAT12", 54, 39}} {
		if b[510] == 0x55 && b[511] == 0xAA && bytes.HasPrefix(b[fat.mark:], []byte(fat.kind)) {
			return &FileSystem{Type: fat.kind, Label: strings.TrimSpace(string(b[fat.id+4 : fat.id+15])),
				UUID: fmt.Sprintf("%X-%X", []byte{b[fat.id+3], b[fat.id+2]}, []byte{b[fat.id+1], b[fat.id]})}
		}
	}
	for _, m := range magics {
		got := make([]byte, len(m.mark))
		if _, err := s.ReadAt(got, m.at); err == nil && string(got) == m.mark {
			return &FileSystem{Type: m.name}
		}
	}
	return nil
}
