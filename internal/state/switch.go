package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// Staging is where a snapshot is restored before it takes root's place: beside it, and the same each time, so that an
// attempt that was cut off is gone on with.
func (x *Snapshot) Staging(root string) string {
	return sibling(root, "restore-"+x.Index.Digest.Encoded()[:16])
}

// sibling is a path on the file system of root, beside it; below it where root is a file system of its own.
func sibling(root, suffix string) string {
	if mounted(root) {
		return filepath.Join(root, ownDir, suffix)
	}
	return filepath.Join(filepath.Dir(root), "."+filepath.Base(root)+"."+suffix)
}

// mounted tells whether root is a mount point.
func mounted(root string) bool {
	var at, above unix.Stat_t
	return unix.Stat(root, &at) == nil && unix.Stat(filepath.Dir(root), &above) == nil && at.Dev != above.Dev
}

const formerMark = "former-"

// Switch puts the folder staging in root's place in one step, and returns where the former state is kept; "" if there was
// none.
func Switch(staging, root string, now time.Time) (former string, err error) {
	if info, err := os.Stat(root); err == nil {
		// The folder itself is no part of a snapshot: its mode and owner stay what they are here.
		if err := mimic(staging, info); err != nil {
			return "", fmt.Errorf("switch %s: %w", root, err)
		}
		former = sibling(root, formerMark+now.UTC().Format("20060102T150405Z"))
		err = unix.Renameat2(unix.AT_FDCWD, staging, unix.AT_FDCWD, root, unix.RENAME_EXCHANGE)
		if err == nil {
			err = os.Rename(staging, former)
		} else if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
			err = fault.Hint(fault.Mark(fault.Input, errors.New("it is a mount point")), "restore to a folder below it")
		}
		if err != nil {
			return "", fmt.Errorf("switch %s: %w", root, err)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(os.Chmod(staging, 0o755), unix.Renameat2(unix.AT_FDCWD, staging, unix.AT_FDCWD, root, unix.RENAME_NOREPLACE)); err != nil {
			return "", fmt.Errorf("switch %s: %w", root, err)
		}
	} else {
		return "", fmt.Errorf("switch %s: %w", root, err)
	}
	return former, atomicfile.SyncDir(filepath.Dir(root))
}

func mimic(path string, info fs.FileInfo) error {
	s, err := statOf(info)
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(path, int(s.UID), int(s.GID))
	}
	if err == nil {
		err = os.Chmod(path, info.Mode())
	}
	return err
}

// Formers lists the former states that are kept beside root, the latest last.
func Formers(root string) ([]string, error) {
	names, err := os.ReadDir(filepath.Dir(root))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, n := range names {
		if n.IsDir() && strings.HasPrefix(n.Name(), "."+filepath.Base(root)+"."+formerMark) {
			list = append(list, filepath.Join(filepath.Dir(root), n.Name()))
		}
	}
	slices.Sort(list)
	return list, nil
}

// Undo brings the latest former state back in one step, and keeps what stood in its place as staging did.
func Undo(root string) (undone string, err error) {
	list, err := Formers(root)
	if err == nil && len(list) == 0 {
		err = fault.Mark(fault.Input, errors.New("no former state is kept beside it"))
	}
	if err != nil {
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	last := list[len(list)-1]
	if err := unix.Renameat2(unix.AT_FDCWD, last, unix.AT_FDCWD, root, unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	undone = sibling(root, "undone")
	if err := errors.Join(os.RemoveAll(undone), os.Rename(last, undone)); err != nil {
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	return undone, atomicfile.SyncDir(filepath.Dir(root))
}

// Place moves single restored paths from staging into root, each in one step. What stood there is kept below former.
func Place(staging, root string, paths []string, now time.Time) (former string, err error) {
	former = sibling(root, formerMark+now.UTC().Format("20060102T150405Z"))
	kept := false
	for _, p := range paths {
		from, to, old := filepath.Join(staging, p), filepath.Join(root, p), filepath.Join(former, p)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", fmt.Errorf("place %s: %w", to, err)
		}
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			if err = os.MkdirAll(filepath.Dir(old), 0o700); err == nil {
				err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
			}
			if err == nil {
				kept, err = true, os.Rename(from, old)
			}
		}
		if err != nil {
			return "", fmt.Errorf("place %s: %w", to, err)
		}
		if err := atomicfile.SyncDir(filepath.Dir(to)); err != nil {
			return "", err
		}
	}
	if err := os.RemoveAll(staging); err != nil {
		return "", err
	}
	if !kept {
		former = ""
	}
	return former, nil
}
