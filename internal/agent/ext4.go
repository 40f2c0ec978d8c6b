package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

// superblock is what the agent needs to know of an ext4 file system.
type superblock struct {
	size  int64 // bytes
	uuid  string
	label string
}

// superblock reads it from a device (Linux, ext4 disk layout, section "The Super Block").
func (s *System) superblock(device string) (superblock, error) {
	f, err := os.Open(s.path(device))
	if err != nil {
		return superblock{}, err
	}
	defer f.Close()
	var b [1024]byte
	if _, err := io.ReadFull(io.NewSectionReader(f, 1024, 1024), b[:]); err != nil {
		return superblock{}, fmt.Errorf("read superblock of %s: %w", device, err)
	}
	le := binary.LittleEndian
	logBlock := le.Uint32(b[0x18:])
	if le.Uint16(b[0x38:]) != 0xEF53 || logBlock > 6 {
		return superblock{}, fmt.Errorf("%s: not an ext4 file system", device)
	}
	blocks := int64(le.Uint32(b[0x4:]))
	if le.Uint32(b[0x60:])&0x80 != 0 { // 64bit
		blocks |= int64(le.Uint32(b[0x150:])) << 32
	}
	label, _, _ := bytes.Cut(b[0x78:0x88], []byte{0})
	return superblock{blocks << (10 + logBlock), epoch.String([16]byte(b[0x68:0x78])), string(label)}, nil
}

// stateWait is how long a state partition may take to show up, on a slow bus.
const stateWait = 20 * time.Second

// Mount mounts the state partition of this UUID, checked before. It asks the disks themselves rather than wait for udev, which knows of
// them only some seconds later.
func (s *System) Mount(ctx context.Context, uuid string) error {
	if _, err := s.mounted(wire.StateRoot); !errors.Is(err, errNotMounted) {
		return err
	}
	device := s.stateDevice(uuid)
	for end := time.Now().Add(s.Patience); device == "" && time.Now().Before(end) && ctx.Err() == nil; device = s.stateDevice(uuid) {
		time.Sleep(100 * time.Millisecond)
	}
	if device == "" {
		return errors.New("no disk holds the state partition")
	}
	// Exit status 1 means repaired (e2fsck(8)).
	if err := s.run(ctx, "e2fsck", "-p", device); err != nil && tool.ExitCode(err) != 1 {
		return fmt.Errorf("check %s: %w", device, err)
	}
	return s.run(ctx, "mount", "-t", "ext4", "-o", "noatime", device, wire.StateRoot)
}

// notADisk are block devices that hold no partition of ours and may take long to say so.
var notADisk = regexp.MustCompile(`^(loop|ram|zram|sr|fd)[0-9]`)

// stateDevice finds the partition of this UUID, or else the only one with the state's label.
func (s *System) stateDevice(uuid string) string {
	blocks, err := os.ReadDir(s.path("/sys/class/block"))
	if err != nil {
		return ""
	}
	var labelled []string
	for _, b := range blocks {
		if notADisk.MatchString(b.Name()) {
			continue
		}
		fs, err := s.superblock("/dev/" + b.Name())
		if err == nil && uuid != "" && fs.uuid == uuid {
			return "/dev/" + b.Name()
		}
		if err == nil && fs.label == wire.StateLabel {
			labelled = append(labelled, "/dev/"+b.Name())
		}
	}
	if len(labelled) == 1 {
		return labelled[0]
	}
	return ""
}
