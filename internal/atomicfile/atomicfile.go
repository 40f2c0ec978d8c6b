// Package atomicfile writes files that appear under their final name only when they are complete.
package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// File is an open temporary file beside its final name. Exactly one of Commit and Abort takes effect;
// a deferred Abort after Commit does nothing.
type File struct {
	*os.File
	path string
	done bool
}

// Create opens a temporary file in the folder of path. Its mode is 0644.
func Create(path string) (*File, error) { return create(path, 0o644) }

// create never opens the file wider than mode, not even for a moment: somebody could keep it open.
func create(path string, mode os.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".partial-*")
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &File{File: f, path: path}, nil
}

// Commit flushes the file to the device and gives it its final name.
func (f *File) Commit() error {
	if f.done {
		return nil
	}
	defer f.Abort()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.done = true
	return SyncDir(filepath.Dir(f.path))
}

// CommitAs is Commit under another name in the same folder, for files that are named after their content.
func (f *File) CommitAs(path string) error {
	f.path = path
	return f.Commit()
}

// Abort removes the temporary file.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.Close()
	os.Remove(f.Name())
}

// WriteFile writes data to path, all or nothing.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := create(path, mode)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit()
}

// SyncDir makes a rename in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
