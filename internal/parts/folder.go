package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

type folder struct {
	dir  string
	file string // the one file that is meant; "" means all
}

// Folder is a folder, or a file that is a part.
func Folder(path string) Place {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return &folder{filepath.Dir(path), filepath.Base(path)}
	}
	return &folder{dir: path}
}

func (p *folder) String() string { return filepath.Join(p.dir, p.file) }

// Create implements Place.
func (p *folder) Create(context.Context) (File, error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := atomicfile.CreatePrivate(filepath.Join(p.dir, "agi-state"+Suffix))
	if err != nil {
		return nil, err
	}
	return &folderFile{f, p.dir}, nil
}

type folderFile struct {
	*atomicfile.File
	dir string
}

// Commit implements File.
func (f *folderFile) Commit(_ context.Context, name string) (string, error) {
	path := filepath.Join(f.dir, filepath.Base(name))
	return path, f.CommitAs(path)
}

// Find implements Place.
func (p *folder) Find(ctx context.Context) (list []*Found, err error) {
	names, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("find parts: %w", err))
	}
	for _, e := range names {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") || p.file != "" && e.Name() != p.file {
			continue
		}
		path := filepath.Join(p.dir, e.Name())
		f := &Found{Place: p, Name: e.Name(), Where: path, Size: info.Size(), open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
			return openAt(path, offset)
		}}
		// People rename files; others lie beside them.
		if f.peek(ctx); f.Set != "" || p.file != "" || strings.HasSuffix(e.Name(), Suffix) {
			list = append(list, f)
		}
	}
	return list, nil
}

func openAt(path string, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
