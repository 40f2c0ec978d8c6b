package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// ImportStaging is where an archive is unpacked before it takes root's place.
func ImportStaging(root string) string { return sibling(root, "import") }

// Stage makes an empty folder for work beside root that is to take its place, or below a given one. It is gone when done
// is called, whatever became of it, and what a killed process left there is gone before.
func Stage(dir string) (done func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFolder(dir)
	if err == nil {
		err = empty(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", dir, err)
	}
	return func() {
		empty(dir)
		os.Remove(dir)
		unlock()
	}, nil
}

// empty removes all in a folder, also where modes forbid it.
func empty(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		full := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = errors.Join(err, os.Chmod(full, 0o700), empty(full))
		}
		err = errors.Join(err, os.RemoveAll(full))
	}
	return err
}

// lockFolder keeps others from a folder until unlock is called or the process ends.
func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fault.Hint(errors.New("another import is at work there"), "wait until it is over")
		}
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}
