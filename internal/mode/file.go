package mode

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/fault"
)

// settle is how long after its last change a file is read again each time: a second change within the clock's grain
// would else not be seen.
const settle = 2 * time.Second

// file is a small file of the state that others change, too. It never leads out of the state.
type file struct {
	root, name string
	limit      int64 // bytes
	seen       fs.FileInfo
	loaded     bool
	settled    bool
}

// changed says whether the file may differ from when it was read last.
func (f *file) changed() bool {
	info, err := os.Stat(filepath.Join(f.root, f.name))
	if err != nil || f.seen == nil {
		return !f.loaded || f.seen != nil || !errors.Is(err, fs.ErrNotExist)
	}
	return !f.settled || !os.SameFile(info, f.seen) || info.Size() != f.seen.Size() || !info.ModTime().Equal(f.seen.ModTime())
}

// read returns nil for a file that is not there. A file that is too large, or none that is plain, is an error of kind Input.
func (f *file) read() ([]byte, error) {
	f.seen, f.loaded, f.settled = nil, true, false
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	defer root.Close()
	in, err := root.OpenFile(f.name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe in its place must not hold us
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read %s: no plain file", f.name))
	}
	f.seen, f.settled = info, time.Since(info.ModTime()) > settle
	data, err := io.ReadAll(io.LimitReader(in, f.limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	if int64(len(data)) > f.limit {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read %s: more than %d bytes", f.name, f.limit))
	}
	return data, nil
}

// write replaces the file, all or nothing, on the disk when it returns. Who may read it stays.
func (f *file) write(data []byte) error {
	if int64(len(data)) > f.limit {
		return fault.Mark(fault.Input, fmt.Errorf("write %s: more than %d bytes", f.name, f.limit))
	}
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	defer root.Close()
	dir := filepath.Dir(f.name)
	if err := root.MkdirAll(dir, 0o755); err != nil { // refuses a link that leads out of the state
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	mode := fs.FileMode(0o644)
	if info, err := root.Stat(f.name); err == nil {
		mode = info.Mode().Perm()
	}
	f.loaded = false
	return atomicfile.WriteFile(filepath.Join(f.root, f.name), data, mode)
}
