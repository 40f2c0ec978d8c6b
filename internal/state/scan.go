package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/agibake/agibake/internal/fault"
)

// Found is an entry that was met on disk. Its sums and pieces are not known yet.
type Found struct {
	Entry
	From string // the file that holds the bytes
	stat stat
	// staged is true of a private copy, which is not what stat describes.
	staged bool
}

// stat is what tells whether a file is the one that was read before.
type stat struct {
	Dev, Ino             uint64
	Size                 int64
	Modified, Changed    int64 // nanoseconds since 1970
	UID, GID, Mode, Type uint32
}

// Excluded never become part of a state: what belongs to the machine or the file system.
var Excluded = []string{"lost+found", "boot/identity.json", ownDir}

// ownDir is where we put what is beside the state, if the state is a file system of its own.
const ownDir = ".agibake"

// ScanOptions say what is left out.
type ScanOptions struct {
	Exclude []string          // patterns of path.Match, for whole paths or, without a slash, for names
	Skipped func(path string) // told of what cannot be part of a state: devices, pipes, sockets; nil ignores them
}

// Scan lists what stands below root by path. Files are not opened. What vanishes meanwhile is left out.
func Scan(ctx context.Context, root string, o ScanOptions) ([]Found, error) {
	named := root
	root, err := filepath.EvalSymlinks(root) // WalkDir would not enter a link
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(root); err == nil && !info.IsDir() {
			err = errors.New("not a folder")
		}
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("scan %s: %w", named, err))
	}
	for _, pattern := range o.Exclude {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fault.Mark(fault.Usage, fmt.Errorf("exclude %q: %w", pattern, err))
		}
	}
	exclude := append(slices.Clone(Excluded), o.Exclude...)
	var list []Found
	err = filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if full == root {
			return err
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		if matches(exclude, rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		f, ok, err := look(root, rel)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !ok:
			if o.Skipped != nil {
				o.Skipped(rel)
			}
			return nil
		}
		list = append(list, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", root, err)
	}
	slices.SortFunc(list, func(a, b Found) int { return compareEntries(a.Entry, b.Entry) })
	return list, nil
}

func matches(patterns []string, rel string) bool {
	for _, pattern := range patterns {
		against := rel
		if !strings.Contains(pattern, "/") {
			against = path.Base(rel)
		}
		if ok, _ := path.Match(pattern, against); ok {
			return true
		}
	}
	return false
}

// look describes one path; ok is false for what cannot be part of a state.
func look(root, rel string) (f Found, ok bool, err error) {
	full := filepath.Join(root, rel)
	info, err := os.Lstat(full)
	if err != nil {
		return f, false, err
	}
	s, err := statOf(info)
	if err != nil {
		return f, false, fmt.Errorf("%s: %w", full, err)
	}
	f = Found{From: full, stat: s, Entry: Entry{
		Path: filepath.ToSlash(rel), Mode: s.Mode & modeBits, Records: -1,
		UID: relative(s.UID, os.Geteuid()), GID: relative(s.GID, os.Getegid()),
	}}
	switch mode := info.Mode(); {
	case !validPath(f.Path):
		return f, false, fault.Mark(fault.Input, fmt.Errorf("%.200q: the path is too long", f.Path))
	case mode.IsDir():
		f.Kind = Dir
	case mode.IsRegular():
		f.Kind, f.Size = File, s.Size
	case mode&fs.ModeSymlink != 0:
		f.Kind, f.Mode = Link, 0o777
		if f.Target, err = os.Readlink(full); err != nil {
			return f, false, err
		}
		if !validTarget(f.Path, f.Target) {
			return f, false, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s links to %s, outside the state", full, f.Target)),
				"put what it links to into the state, or leave the link out with --exclude "+f.Path)
		}
	default:
		return f, false, nil
	}
	return f, true, nil
}

// relative makes a tree the same whoever owns and captures it: the caller's own files count as owned by 0. Files of root
// that somebody else captures are the same to them as their own.
func relative(id uint32, own int) uint32 {
	if int(id) == own {
		return 0
	}
	return id
}

func statOf(info fs.FileInfo) (stat, error) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stat{}, errors.New("the system does not describe it")
	}
	return stat{Dev: uint64(s.Dev), Ino: s.Ino, Size: s.Size, Modified: s.Mtim.Nano(), Changed: s.Ctim.Nano(), UID: s.Uid, GID: s.Gid,
		Mode: s.Mode & 0o7777, Type: s.Mode & syscall.S_IFMT}, nil
}
