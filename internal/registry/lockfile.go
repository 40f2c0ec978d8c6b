package registry

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// errBusy says that another process works on the same thing.
var errBusy = errors.New("in use by another process")

// lockFile opens path, created when missing, and takes its lock: errBusy when another holds it. No link is followed.
// The file is still the one at path once the lock is held: whoever renames or removes one does so under its lock.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fault.Mark(fault.Input, fmt.Errorf("%s is not a file", path))
		}
		if err == nil {
			if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
				err = fmt.Errorf("%s: %w", path, errBusy)
			}
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(info, now) {
			return f, nil
		}
		f.Close()
	}
}
