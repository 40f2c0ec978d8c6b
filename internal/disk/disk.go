// Package disk writes the whole raw disk of an appliance: partition table, boot code, EFI system partition and the two
// file systems. docs/disk.md gives its bytes.
package disk

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/agibake/agibake/internal/disk/ext4"
	"github.com/agibake/agibake/internal/disk/fat"
	"github.com/agibake/agibake/internal/disk/gpt"
	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/sparse"
	"github.com/agibake/agibake/internal/tree"
	"github.com/agibake/agibake/internal/wire"
)

// Spec is what goes on a disk.
type Spec struct {
	Size       int64      // of the disk in bytes, a multiple of 1 MiB
	SystemSize int64      // of the system partition in bytes, a multiple of 1 MiB
	System     *tree.Tree // the three trees; nil stands for an empty one
	State      *tree.Tree
	ESP        *tree.Tree
	BootImage  []byte // GRUB's boot.img; nil for a disk that a BIOS does not boot
	CoreImage  []byte // GRUB's core.img for it
	Seed       string // the lock's digest in hex: UUIDs and hash seeds derive from it
	Epoch      int64  // the bake's clock, seconds since 1970
}

const (
	mib      = 1 << 20
	biosSize = 1 * mib
	espSize  = 256 * mib
	minState = 64 * mib

	systemGrowth = 1 << 40 // sizes up to which the file systems can grow in place
	stateGrowth  = 8 << 40
)

// Layout is where everything lies on a disk and how it is called.
type Layout struct {
	Size     int64
	DiskGUID [16]byte
	BIOSBoot gpt.Partition
	ESP      gpt.Partition
	System   gpt.Partition
	State    gpt.Partition

	SystemUUID  string // of the file systems, as in UUID= of fstab and in GRUB's search
	StateUUID   string
	ESPVolumeID string // likewise, in the form 1234-ABCD
}

// Partitions lists the partitions in the order of the disk.
func (l Layout) Partitions() []gpt.Partition {
	return []gpt.Partition{l.BIOSBoot, l.ESP, l.System, l.State}
}

// Plan lays the disk out from s.Size, s.SystemSize and s.Seed alone. An impossible size is of kind fault.Input.
func Plan(s Spec) (Layout, error) {
	if s.Size <= 0 || s.SystemSize <= 0 || s.Size%mib != 0 || s.SystemSize%mib != 0 {
		return Layout{}, fault.Mark(fault.Input, fmt.Errorf("lay out disk: sizes %d and %d are not multiples of 1 MiB", s.Size, s.SystemSize))
	}
	l := Layout{
		Size: s.Size, DiskGUID: epoch.UUID(s.Seed, "disk"),
		SystemUUID:  epoch.String(epoch.UUID(s.Seed, wire.SystemLabel)),
		StateUUID:   epoch.String(epoch.UUID(s.Seed, wire.StateLabel)),
		ESPVolumeID: fmt.Sprintf("%04X-%04X", espID(s.Seed)>>16, espID(s.Seed)&0xFFFF),
	}
	at := int64(mib)
	add := func(name, kind string, size int64) gpt.Partition {
		p := gpt.Partition{Name: name, Type: kind, GUID: epoch.UUID(s.Seed, "partition "+name), Start: at, Size: size}
		at += size
		return p
	}
	l.BIOSBoot = add("agi-bios", gpt.BIOSBoot, biosSize)
	l.ESP = add("agi-esp", gpt.EFISystem, espSize)
	l.System = add(wire.SystemLabel, gpt.LinuxFiles, s.SystemSize)
	// The last MiB of the disk holds the copy of the partition table.
	l.State = add(wire.StateLabel, gpt.LinuxFiles, s.Size-mib-at)
	if l.State.Size < minState {
		err := fmt.Errorf("lay out disk: a disk of %d bytes has no room for a state partition beside a system of %d bytes", s.Size, s.SystemSize)
		return Layout{}, fault.Hint(fault.Mark(fault.Input, err), "raise machine.disk or lower machine.systemSize")
	}
	return l, nil
}

// espID is the volume id of the EFI system partition.
func espID(seed string) uint32 {
	u := epoch.UUID(seed, "agi-esp")
	return uint32(u[0])<<24 | uint32(u[1])<<16 | uint32(u[2])<<8 | uint32(u[3])
}

// Write writes the disk to f, a new empty file, and leaves it sparse. What does not fit is found before anything is
// written and is of kind fault.Input. The caller syncs. Progress is in stage "disk".
func Write(ctx context.Context, f *os.File, s Spec, p progress.Func) error {
	c, err := prepare(s)
	if err != nil {
		return err
	}
	return c.write(ctx, f, p)
}

// apartSize is the size from which WriteApart leaves a file of the state where it is.
const apartSize = 64 * mib

// WriteApart is Write, but leaves the content of the state's large files out, so that weights need not be copied before
// they are encoded. The disk is f with the inlays (sparse.NewDisk). The caller closes them; that tells whether such a
// file changed meanwhile.
func WriteApart(ctx context.Context, f *os.File, s Spec, p progress.Func) ([]sparse.Inlay, error) {
	c, err := prepare(s)
	if err != nil {
		return nil, err
	}
	inlays, err := c.state.SetApart(apartSize)
	if err == nil {
		for _, in := range inlays {
			for i := range in.Extents {
				in.Extents[i].Off += c.layout.State.Start
			}
		}
		err = c.write(ctx, f, p)
	}
	if err != nil {
		for _, in := range inlays {
			in.File.Close()
		}
		return nil, err
	}
	return inlays, nil
}

// content is a disk whose every byte has its place.
type content struct {
	layout        Layout
	boot, core    []byte // code of the MBR and of the BIOS boot partition
	system, state *ext4.Volume
	esp           *fat.Volume
}

func prepare(s Spec) (c content, err error) {
	if c.layout, err = Plan(s); err != nil {
		return c, err
	}
	if c.boot, c.core, err = bootCode(c.layout, s); err != nil {
		return c, err
	}
	c.system, err = ext4.Plan(orEmpty(s.System), ext4.Options{
		Size: c.layout.System.Size, Label: wire.SystemLabel, UUID: epoch.UUID(s.Seed, wire.SystemLabel),
		HashSeed: epoch.UUID(s.Seed, "hash "+wire.SystemLabel), Time: s.Epoch, GrowTo: systemGrowth, ReservedPercent: 1,
	})
	if err != nil {
		return c, fault.Hint(err, "raise machine.systemSize (and machine.disk with it)")
	}
	c.state, err = ext4.Plan(orEmpty(s.State), ext4.Options{
		Size: c.layout.State.Size, Label: wire.StateLabel, UUID: epoch.UUID(s.Seed, wire.StateLabel),
		HashSeed: epoch.UUID(s.Seed, "hash "+wire.StateLabel), Time: s.Epoch, GrowTo: stateGrowth,
	})
	if err != nil {
		return c, fault.Hint(err, "raise machine.disk, or lower machine.systemSize")
	}
	c.esp, err = fat.Plan(orEmpty(s.ESP), fat.Options{
		Size: c.layout.ESP.Size, Label: "AGI-ESP", VolumeID: espID(s.Seed), Hidden: uint32(c.layout.ESP.Start / gpt.SectorSize),
	})
	return c, err
}

func (c *content) write(ctx context.Context, f *os.File, p progress.Func) error {
	l := c.layout
	err := f.Truncate(l.Size)
	if err == nil {
		err = gpt.Write(f, gpt.Table{GUID: l.DiskGUID, Size: l.Size, Partitions: l.Partitions(), Code: c.boot})
	}
	if err == nil && len(c.core) > 0 {
		_, err = f.WriteAt(c.core, l.BIOSBoot.Start)
	}
	if err != nil {
		return fmt.Errorf("write disk: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	at := func(p gpt.Partition) io.WriterAt { return io.NewOffsetWriter(f, p.Start) }
	group.Go(func() error { return c.system.Write(ctx, at(l.System), p) })
	group.Go(func() error { return c.state.Write(ctx, at(l.State), p) })
	group.Go(func() error { return c.esp.Write(ctx, at(l.ESP)) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write disk: %w", err)
	}
	return nil
}

func orEmpty(t *tree.Tree) *tree.Tree {
	if t == nil {
		return tree.New()
	}
	return t
}
