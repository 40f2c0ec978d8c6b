package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/wire"
)

const (
	sector = 512 // the unit of /sys/block/*/size, whatever the disk's own
	// slack is what may lie between the last partition and the disk's end: the backup GPT and the alignment to 1 MiB.
	slack = 2 << 20 / sector
)

// errNotMounted says that the state is a plain folder of the system.
var errNotMounted = errors.New("state partition is not mounted at " + wire.StateRoot)

// errNoPartition says that the state does not lie on a partition that could grow (a container, a whole disk).
var errNoPartition = errors.New("state does not lie on a partition")

// partition is where the state file system lies. Numbers count sectors of 512 bytes.
type partition struct {
	device, disk string // as in /dev
	number       int
	start, size  int64
	diskSize     int64
	last         bool // no partition lies behind it
}

// spare is the room behind the partition.
func (p partition) spare() int64 { return p.diskSize - p.start - p.size }

// statePartition finds the partition mounted at wire.StateRoot.
func (s *System) statePartition() (partition, error) {
	number, err := s.mounted(wire.StateRoot)
	if err != nil {
		return partition{}, err
	}
	dir, err := filepath.EvalSymlinks(s.path("/sys/dev/block/" + number))
	if err != nil {
		return partition{}, errNoPartition
	}
	p := partition{device: "/dev/" + filepath.Base(dir), disk: "/dev/" + filepath.Base(filepath.Dir(dir)), last: true}
	n, err := readInt(dir, "partition")
	if errors.Is(err, os.ErrNotExist) {
		return partition{}, errNoPartition
	}
	p.number = int(n)
	var errs [3]error
	p.start, errs[0] = readInt(dir, "start")
	p.size, errs[1] = readInt(dir, "size")
	p.diskSize, errs[2] = readInt(filepath.Dir(dir), "size")
	if err := errors.Join(err, errs[0], errs[1], errs[2]); err != nil {
		return partition{}, fmt.Errorf("read partition of the state: %w", err)
	}
	others, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "start"))
	for _, o := range others {
		if start, err := readInt(filepath.Dir(o), "start"); err == nil && start > p.start {
			p.last = false
		}
	}
	return p, err
}

// mounted returns major:minor of what is mounted at dir (proc(5), mountinfo).
func (s *System) mounted(dir string) (string, error) {
	f, err := os.Open(s.path("/proc/self/mountinfo"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	number := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if w := strings.Fields(lines.Text()); len(w) > 4 && w[4] == dir {
			number = w[2]
		}
	}
	if err := lines.Err(); err != nil || number != "" {
		return number, err
	}
	return "", errNotMounted
}

func readInt(dir, name string) (int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// Grow gives the state partition the room behind it on a disk that was made larger, and the file system that of its
// partition. With nothing to do it changes nothing; broken off anywhere, the next boot goes on.
func (s *System) Grow(ctx context.Context) error {
	p, err := s.statePartition()
	if err != nil {
		return err
	}
	if p.last && p.spare() > slack {
		if err := s.growPartition(ctx, p); err != nil {
			return fmt.Errorf("grow %s: %w", p.device, err)
		}
		if p, err = s.statePartition(); err != nil {
			return err
		}
	}
	fs, err := s.superblock(p.device)
	if err != nil {
		return err
	}
	if p.size*sector-fs.size < slack*sector {
		return nil
	}
	return s.run(ctx, "resize2fs", p.device)
}

// growPartition moves the backup GPT to the disk's end, then the partition's end before it. The disk is in use, so the
// kernel is told afterwards, of this partition only.
func (s *System) growPartition(ctx context.Context, p partition) error {
	if err := s.run(ctx, "sfdisk", "--no-reread", "--no-tell-kernel", "--relocate", "gpt-bak-std", p.disk); err != nil {
		return err
	}
	n := strconv.Itoa(p.number)
	if err := s.Run(ctx, tool.Cmd{
		Name: "sfdisk", Args: []string{"--quiet", "--no-reread", "--no-tell-kernel", "--force", "-N", n, p.disk}, Stdin: strings.NewReader(", +\n"),
	}); err != nil {
		return err
	}
	return s.run(ctx, "partx", "--update", "--nr", n, p.disk)
}
