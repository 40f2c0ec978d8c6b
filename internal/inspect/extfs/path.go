package extfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Entry is one name in a folder.
type Entry struct {
	Name string
	Size int64
	Dir  bool

	inode int64
}

const maxDir = 16 << 20 // bytes of one folder

// ReadFile returns the content of a file of at most limit bytes. Symbolic links are followed inside the file system.
// A missing file gives fs.ErrNotExist.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !n.is(modeFile) {
		return nil, fmt.Errorf("read %s: not a file", name)
	}
	b, err := f.content(n, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// ReadDir returns the names in a folder, in the order of the disk, without "." and "..".
func (f *FS) ReadDir(name string) ([]Entry, error) {
	n, err := f.lookup(name)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", name, err)
	}
	list, err := f.entries(n)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", name, err)
	}
	for i := range list {
		n, err := f.inode(list[i].inode)
		if err != nil {
			return nil, fmt.Errorf("read folder %s: %w", name, err)
		}
		list[i].Size, list[i].Dir = n.size, n.is(modeDir)
	}
	return list, nil
}

// entries reads a folder. Its index, if it has one, lies in records that this walk takes for unused.
func (f *FS) entries(n *inode) ([]Entry, error) {
	if !n.is(modeDir) {
		return nil, errors.New("not a folder")
	}
	b, err := f.content(n, maxDir)
	if err != nil {
		return nil, err
	}
	const head, parent = 8, 4
	if n.flags&flagInline != 0 { // the folder's ".." is only a number there
		b = b[min(parent, len(b)):]
	}
	var list []Entry
	for len(b) >= head {
		inode, length, name := int64(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint16(b[4:])), int(b[6])
		if length < head || length > len(b) || head+name > length {
			return nil, errors.New("ext4: broken folder")
		}
		if s := string(b[head : head+name]); inode != 0 && s != "." && s != ".." && s != "" {
			list = append(list, Entry{Name: s, inode: inode})
		}
		b = b[length:]
	}
	return list, nil
}

// lookup finds a file by its path from the root, following links.
func (f *FS) lookup(name string) (*inode, error) {
	const maxLinks, maxPath = 40, 4096
	links := 0
	rest := strings.Split(path.Clean("/" + name)[1:], "/")
	var at []int64 // inodes from the root to the current folder
	current, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	at = append(at, rootInode)
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			if current, err = f.inode(at[len(at)-1]); err != nil {
				return nil, err
			}
			continue
		}
		number, err := f.find(current, part)
		if err != nil {
			return nil, err
		}
		next, err := f.inode(number)
		if err != nil {
			return nil, err
		}
		if !next.is(modeSymlink) {
			current, at = next, append(at, number)
			continue
		}
		target, err := f.content(next, maxPath)
		if err != nil {
			return nil, err
		}
		if links++; links > maxLinks {
			return nil, errors.New("too many links")
		}
		if strings.HasPrefix(string(target), "/") {
			at = at[:1]
			if current, err = f.inode(rootInode); err != nil {
				return nil, err
			}
		}
		rest = append(strings.Split(string(target), "/"), rest...)
	}
	return current, nil
}

func (f *FS) find(dir *inode, name string) (int64, error) {
	list, err := f.entries(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if e.Name == name {
			return e.inode, nil
		}
	}
	return 0, fs.ErrNotExist
}
