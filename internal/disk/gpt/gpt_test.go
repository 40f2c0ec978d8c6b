package gpt

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

const mib = 1 << 20

func example(size int64) Table {
	return Table{GUID: [16]byte{0: 0xA1, 6: 0x80, 8: 0x80, 15: 1}, Size: size, Code: []byte{0xEB, 0x63}, Partitions: []Partition{
		{Name: "first", Type: BIOSBoot, GUID: [16]byte{15: 1}, Start: mib, Size: mib},
		{Name: "второй", Type: LinuxFiles, GUID: [16]byte{15: 2}, Start: 2 * mib, Size: size - 3*mib},
	}}
}

func TestSgdisk(t *testing.T) {
	for _, size := range []int64{8 * mib, 100<<30 + 512, 3 << 40} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		table := example(size)
		table.Partitions[1].Size = table.Partitions[1].Size / mib * mib
		if err := Write(f, table); err != nil {
			t.Fatal(err)
		}
		out, err := referee.Command(t, "sgdisk", "-v", "-p", "-i", "2", path).CombinedOutput()
		for _, want := range []string{"No problems found", "A1000000-0000-8000-8000-000000000001", "'второй'", "00000000-0000-0000-0000-000000000002"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("sgdisk of %d bytes: %v, lacks %s: %s", size, err, want, out)
			}
		}
		sector := make([]byte, SectorSize)
		if _, err := f.ReadAt(sector, 0); err != nil || !bytes.HasPrefix(sector, table.Code) {
			t.Errorf("boot code is missing (%v)", err)
		}
		if got, want := binary.LittleEndian.Uint32(sector[458:]), min(size/SectorSize-1, 0xFFFFFFFF); int64(got) != want {
			t.Errorf("protective partition of %d sectors, want %d", got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Table){
		"overlap":       func(p *Table) { p.Partitions[1].Start -= SectorSize },
		"past the end":  func(p *Table) { p.Partitions[1].Size += mib },
		"over the copy": func(p *Table) { p.Partitions[1].Size += mib - 32*SectorSize },
		"before data":   func(p *Table) { p.Partitions[0].Start = 33 * SectorSize },
		"odd size":      func(p *Table) { p.Size++ },
		"long code":     func(p *Table) { p.Code = make([]byte, CodeSize+1) },
		"long name":     func(p *Table) { p.Partitions[0].Name = strings.Repeat("n", 37) },
	} {
		table := example(64 * mib)
		change(&table)
		if err := Write(nil, table); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
