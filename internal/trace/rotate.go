package trace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/atomicfile"
)

// due says whether the files are to be rotated before more bytes are written. An empty file never is.
func (w *Writer) due(more int64) bool {
	switch size := w.size[jsonForm]; {
	case size == 0 || w.closed:
		return false
	case w.o.MaxSize > 0 && size+more > w.rotateAt:
		return true
	default:
		return w.o.MaxAge > 0 && w.o.Now().Sub(w.born) >= w.o.MaxAge
	}
}

// Rotate begins new files now, unless the present ones are empty.
func (w *Writer) Rotate() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("rotate traces: %w", os.ErrClosed)
	}
	return w.rotate()
}

// rotate needs both locks. If it fails, writing goes on in the old files, and it is tried again later.
func (w *Writer) rotate() error {
	if w.size[jsonForm] == 0 {
		return nil
	}
	err := w.turn()
	if err != nil {
		err = fmt.Errorf("rotate traces: %w", w.explain(err))
		w.o.Note(err.Error())
		w.rotateAt = w.size[jsonForm] + max(w.o.MaxSize/8, 1)
		w.born = w.o.Now()
		return err
	}
	w.prune()
	return nil
}

func (w *Writer) turn() error {
	if w.o.Sync != SyncNever { // the name of a rotated file says that nothing in it changes any more
		if err := w.settle(w.written, w.out[jsonForm].Sync()); err != nil {
			w.o.Note(err.Error())
		}
		w.out[textForm].Sync()
		w.out[logfmtForm].Sync()
	}
	old, oldSize, next := w.out, w.size, w.last.after(w.o.Now())
	done := 0
	var err error
	for ; done < len(forms) && err == nil; done++ {
		err = os.Rename(w.path(done), filepath.Join(w.dir, next.name(forms[done])))
	}
	if err == nil {
		err = w.openFiles()
	} else {
		done-- // the last rename did nothing
	}
	if err != nil {
		// The new files, if any, are empty. With the names given back the old files go on.
		for i := range forms {
			if w.out[i] != old[i] {
				w.out[i].Close()
			}
		}
		for i := done - 1; i >= 0; i-- {
			err = errors.Join(err, os.Rename(filepath.Join(w.dir, next.name(forms[i])), w.path(i)))
		}
		w.out, w.size = old, oldSize
		return err
	}
	w.last = next
	for _, f := range old {
		f.Close()
	}
	return nil
}

func (w *Writer) path(form int) string { return filepath.Join(w.dir, "trace"+forms[form]) }

// openFiles opens the present files, makes those that are not there, and takes their sizes.
func (w *Writer) openFiles() error {
	for i := range forms {
		f, err := os.OpenFile(w.path(i), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		if err != nil {
			return err
		}
		w.out[i] = f
		info, err := f.Stat()
		if err != nil {
			return err
		}
		w.size[i] = info.Size()
	}
	w.rotateAt, w.born = w.o.MaxSize, w.firstTime()
	if w.o.Sync == SyncNever {
		return nil
	}
	if err := atomicfile.SyncDir(w.dir); err != nil { // else a power cut takes the new names
		w.o.Note(fmt.Sprintf("sync traces: %v", err))
	}
	return nil
}

// recheck begins files anew that somebody removed, and sees where one was cut. It needs both locks.
func (w *Writer) recheck() {
	again := false
	for i, f := range w.out {
		info, err := f.Stat()
		named, gone := os.Stat(w.path(i))
		again = again || gone != nil || err == nil && !os.SameFile(info, named)
		if err == nil {
			w.size[i] = info.Size()
		}
	}
	if w.closed || !again {
		return
	}
	old := w.out
	if err := w.openFiles(); err != nil {
		w.o.Note(fmt.Sprintf("reopen traces: %v", w.explain(err)))
	} else {
		w.o.Note("somebody removed files of traces in " + w.dir + "; new ones are written")
	}
	for i, f := range old {
		if w.out[i] != f {
			f.Close()
		}
	}
}
