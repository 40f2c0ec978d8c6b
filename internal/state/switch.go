package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
	root = real(root)
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

// real is root without links: its folder is what gets another place, not a link to it.
func real(root string) string {
	if to, err := filepath.EvalSymlinks(root); err == nil {
		return to
	}
	return root
}

const (
	formerMark = "former-"
	formerTime = "20060102T150405Z"
)

// nextFormer names a former state to be: behind those that are kept, whatever the clock says.
func nextFormer(root string, now time.Time) (string, error) {
	list, err := Formers(root)
	if err != nil {
		return "", err
	}
	for _, f := range list {
		at, err := time.Parse(formerTime, strings.TrimPrefix(f, sibling(root, formerMark)))
		if at = at.Add(time.Second); err == nil && now.Before(at) {
			now = at
		}
	}
	return sibling(root, formerMark+now.UTC().Format(formerTime)), nil
}

// trade puts what is at from in the place of what is at to, which comes to lie at kept. What is at from goes there first:
// wherever that ends, nothing that was at to has a name under which things get removed.
func trade(from, to, kept string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, kept, unix.RENAME_NOREPLACE)
	if err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, kept, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if err != nil {
		err = errors.Join(err, os.Rename(kept, from))
	}
	return err
}

// Switch puts the folder staging in root's place, and returns where the former state is kept; "" if there was none. It is
// one step; where root is a mount point it is one for each name in it, and Settle completes a switch that was cut off.
// What never is part of a state, such as the machine's identity, stays.
func Switch(staging, root string, now time.Time) (former string, err error) {
	root = real(root)
	if _, err := completed(root); err != nil {
		return "", err
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return "", fault.Mark(fault.Input, fmt.Errorf("switch %s: it is no folder", root))
	} else if err == nil {
		// The folder itself is no part of a snapshot: its mode and owner stay what they are here.
		if err := mimic(staging, info); err != nil {
			return "", fmt.Errorf("switch %s: %w", root, err)
		}
		if former, err = nextFormer(root, now); err == nil {
			err = carry(root, staging)
		}
		if err == nil && mounted(root) {
			err = exchangeInside(staging, root, former)
		} else if err == nil {
			err = trade(staging, root, former)
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

// carry brings what is excluded from every state over to the new one.
func carry(from, to string) error {
	for _, p := range Excluded {
		info, err := os.Lstat(filepath.Join(from, p))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if into, err := os.Lstat(filepath.Join(to, filepath.Dir(p))); err != nil || !into.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, p))
		if err == nil {
			err = atomicfile.WriteFile(filepath.Join(to, p), data, info.Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	dir, prefix := filepath.Split(sibling(root, formerMark))
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []string
	for _, n := range names {
		if n.IsDir() && strings.HasPrefix(n.Name(), prefix) {
			list = append(list, filepath.Join(dir, n.Name()))
		}
	}
	slices.Sort(list)
	return list, nil
}

// Undo brings the latest former state back in one step, or the paths that Place replaced in one each, and keeps what stood
// in its place in the folder undone.
func Undo(root string) (undone string, err error) {
	root = real(root)
	undone = sibling(root, "undone")
	if before, err := completed(root); err != nil || before == undone { // that was the same, cut off
		return before, err
	}
	list, err := Formers(root)
	if err == nil && len(list) == 0 {
		err = fault.Mark(fault.Input, errors.New("no former state is kept beside it"))
	}
	if err != nil {
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	last := list[len(list)-1]
	if err := os.RemoveAll(undone); err != nil { // which takes long, and must not come between the other steps
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	paths, err := placed(last)
	switch {
	case err != nil:
	case paths != nil:
		err = undoPaths(last, root, undone, paths)
	case mounted(root):
		err = exchangeInside(last, root, undone)
	default:
		if err = unix.Renameat2(unix.AT_FDCWD, last, unix.AT_FDCWD, root, unix.RENAME_EXCHANGE); err == nil {
			err = os.Rename(last, undone)
		}
	}
	if err != nil {
		return "", fmt.Errorf("undo %s: %w", root, err)
	}
	return undone, atomicfile.SyncDir(filepath.Dir(root))
}

// Place moves single restored paths from staging into root, each in one step. What stood there is kept below former.
func Place(staging, root string, paths []string, now time.Time) (former string, err error) {
	if paths = apart(paths); slices.Equal(paths, []string{"."}) {
		return Switch(staging, root, now)
	}
	root = real(root)
	if former, err = nextFormer(root, now); err != nil {
		return "", fmt.Errorf("place in %s: %w", root, err)
	}
	replaced := "" // paths whose former state is kept
	for _, p := range paths {
		from, to, old := filepath.Join(staging, p), filepath.Join(root, p), filepath.Join(former, p)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", fmt.Errorf("place %s: %w", to, err)
		}
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			if err = os.MkdirAll(filepath.Dir(old), 0o700); err == nil {
				err = atomicfile.WriteFile(filepath.Join(former, ownDir), []byte(p+"\x00"+replaced), 0o600)
			}
			if err == nil {
				replaced += p + "\x00"
				err = trade(from, to, old)
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
	if replaced == "" {
		former = ""
	}
	return former, nil
}

// placed lists the paths that a former state consists of, nil if it is a whole one.
func placed(former string) ([]string, error) {
	name := filepath.Join(former, ownDir)
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), err
}

// undoPaths brings single paths back. What was not there before stays.
func undoPaths(former, root, undone string, paths []string) error {
	for _, p := range paths {
		old, aside := filepath.Join(former, p), filepath.Join(undone, p)
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := os.MkdirAll(filepath.Dir(aside), 0o700)
		if err == nil {
			err = unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, filepath.Join(root, p), unix.RENAME_EXCHANGE)
		}
		if err == nil {
			err = os.Rename(old, aside)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return os.RemoveAll(former)
}

// apart cleans paths and leaves out those within others.
func apart(paths []string) (list []string) {
	for _, p := range paths {
		p = path.Clean(p)
		within := func(other string) bool { return other == "." || p == other || strings.HasPrefix(p, other+"/") }
		if slices.ContainsFunc(list, within) {
			continue
		}
		list = slices.DeleteFunc(list, func(other string) bool { return p == "." || strings.HasPrefix(other, p+"/") })
		list = append(list, p)
	}
	return list
}
