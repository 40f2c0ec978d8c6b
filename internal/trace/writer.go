package trace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// Writer appends to the traces of a folder. All methods may be called at once.
type Writer struct {
	dir  string
	o    Options
	lock *os.File
	stop chan struct{}
	done sync.WaitGroup

	syncing sync.Mutex // held during fsync and rotation, taken before mu
	synced  uint64     // lines known to be on the device
	lost    uint64     // lines up to which an fsync failed
	lostErr error

	mu       sync.Mutex
	out      [len(forms)]*os.File
	size     [len(forms)]int64
	written  uint64    // lines
	born     time.Time // of the first line
	rotateAt int64     // bytes
	last     stamp     // of the newest rotated file
	torn     bool      // a failed write could not be taken back yet
	closed   bool
	news     chan struct{} // closed at the next line, nil if nobody waits
}

// Open makes the folder ready for writing: what a crash left is repaired, and noted. One Writer at a time has a folder; that
// another one has it is an error.
func Open(dir string, o Options) (*Writer, error) {
	w := &Writer{dir: dir, o: o.filled(), stop: make(chan struct{})}
	if err := w.open(); err != nil {
		w.closeFiles()
		return nil, fmt.Errorf("open traces: %w", err)
	}
	if w.o.Sync != SyncNever || w.o.MaxAge > 0 || w.o.KeepAge > 0 {
		w.done.Go(w.tend)
	}
	return w, nil
}

func (w *Writer) open() error {
	if err := os.MkdirAll(w.dir, 0o750); err != nil {
		return err
	}
	var err error
	if w.lock, err = os.OpenFile(filepath.Join(w.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fault.Hint(fmt.Errorf("another program writes to %s: %w", w.dir, err), "stop the other agent first")
	}
	if err := w.repair(); err != nil {
		return err
	}
	if err := w.openFiles(); err != nil {
		return err
	}
	w.prune()
	w.newBoot()
	return nil
}

// Append writes r in all forms. When it returns nil, the line is whole in the files, and with SyncAlways it survives a power
// cut. An error means that it is in none of them, but for a failed fsync, after which that is unknown. A record that is no
// JSON or longer than MaxLine is an error of kind Input; on a full disk the error wraps ENOSPC, and later records are
// written again once there is room.
func (w *Writer) Append(ctx context.Context, r Record) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("append trace: %w", err)
	}
	set := sets.Get().(*lineSet)
	defer set.free()
	if err := w.render(set, r); err != nil {
		return fmt.Errorf("append trace: %w", err)
	}
	n, err := w.write(set)
	if err == nil && w.o.Sync == SyncAlways {
		err = w.syncTo(n)
	}
	if err != nil {
		return fmt.Errorf("append trace: %w", w.explain(err))
	}
	return nil
}

// write puts a line into all files, or into none, and returns its number.
func (w *Writer) write(set *lineSet) (uint64, error) {
	w.mu.Lock()
	if w.due(int64(set[jsonForm].Len())) {
		w.mu.Unlock()
		w.syncing.Lock()
		w.mu.Lock()
		if w.due(int64(set[jsonForm].Len())) {
			w.rotate()
		}
		w.syncing.Unlock()
	}
	defer w.mu.Unlock()
	if w.closed {
		return 0, os.ErrClosed
	}
	if w.torn {
		if err := w.takeBack(); err != nil {
			return 0, err
		}
	}
	for i := range set {
		if _, err := w.out[i].Write(set[i].Bytes()); err != nil {
			return 0, errors.Join(err, w.takeBack())
		}
	}
	if w.size[jsonForm] == 0 {
		w.born = w.o.Now()
	}
	for i := range set {
		w.size[i] += int64(set[i].Len())
	}
	w.written++
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
	return w.written, nil
}

// takeBack cuts what a failed write left.
func (w *Writer) takeBack() (err error) {
	for i, f := range w.out {
		err = errors.Join(err, f.Truncate(w.size[i]))
	}
	w.torn = err != nil
	return err
}

func (w *Writer) explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.Hint(err, "the disk of "+w.dir+" is full: make room there; writing goes on by itself")
	}
	return err
}

// Close puts all on the device, but for SyncNever, and ends the Writer. Later calls do nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	was := w.closed
	w.closed = true
	n := w.written
	w.mu.Unlock()
	if was {
		return nil
	}
	close(w.stop)
	w.done.Wait()
	var err error
	if w.o.Sync != SyncNever {
		err = errors.Join(w.syncTo(n), w.syncOthers())
	}
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
	if err = errors.Join(err, w.closeFiles()); err != nil {
		return fmt.Errorf("close traces: %w", err)
	}
	return nil
}

func (w *Writer) closeFiles() (err error) {
	for _, f := range w.out {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
	}
	return err
}
