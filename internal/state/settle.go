package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
)

// A mount point cannot be renamed. What is in it changes places one by one instead, by a plan that stands on the disk
// before the first step: whoever finds it goes on with it.
type plan struct {
	Staging string `json:"staging"` // what comes in; in the end, under its last name, what went out
	Former  string `json:"former"`
	Steps   []step `json:"steps"`
}

type step struct {
	Name  string `json:"name"`
	Inode uint64 `json:"inode"` // of what comes in; 0 if nothing does
}

func planFile(root string) string { return sibling(root, "switch.json") }

func exchangeInside(staging, root, former string) error {
	p := plan{Staging: staging, Former: former}
	names := map[string]uint64{}
	for _, dir := range []string{root, staging} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			if slices.Contains(Excluded, e.Name()) { // of the file system, and ours
				continue
			}
			names[e.Name()] = 0
			if dir == staging {
				names[e.Name()] = inode(filepath.Join(dir, e.Name()))
			}
		}
	}
	for name, ino := range names {
		p.Steps = append(p.Steps, step{name, ino})
	}
	slices.SortFunc(p.Steps, func(a, b step) int { return cmp.Compare(a.Name, b.Name) })
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(planFile(root), data, 0o600); err != nil {
		return err
	}
	return Settle(root)
}

// Settle completes a switch that was cut off, by a power cut for instance. Without one it does nothing.
func Settle(root string) error {
	_, err := completed(root)
	return err
}

// completed is Settle, and returns where what went out lies now; "" if there was nothing to do.
func completed(root string) (former string, err error) {
	data, err := os.ReadFile(planFile(root))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var p plan
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err == nil {
		err = p.run(root)
	}
	if err != nil {
		return "", fmt.Errorf("settle %s: %w", root, err)
	}
	return p.Former, nil
}

func (p *plan) run(root string) error {
	if _, err := os.Stat(p.Staging); err == nil {
		for _, s := range p.Steps {
			if err := s.run(p.Staging, root); err != nil {
				return err
			}
		}
		if err := flush(root); err != nil {
			return err
		}
		if err := os.Rename(p.Staging, p.Former); err != nil {
			return err
		}
	}
	if err := os.Remove(planFile(root)); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(planFile(root)))
}

// run is one step; done twice it is the same as done once.
func (s step) run(staging, root string) error {
	in, at := filepath.Join(staging, s.Name), filepath.Join(root, s.Name)
	there := inode(at)
	switch {
	case s.Inode == 0 && there == 0, s.Inode != 0 && there == s.Inode:
		return nil
	case s.Inode == 0:
		return os.Rename(at, in)
	case there == 0:
		return os.Rename(in, at)
	}
	return unix.Renameat2(unix.AT_FDCWD, in, unix.AT_FDCWD, at, unix.RENAME_EXCHANGE)
}

// inode is 0 for what is not there.
func inode(path string) uint64 {
	var s unix.Stat_t
	if unix.Lstat(path, &s) != nil {
		return 0
	}
	return s.Ino
}
