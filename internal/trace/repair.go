package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// repair makes what a crash left whole again: first the JSON lines, then the other forms, which follow from them.
func (w *Writer) repair() error {
	f, err := os.OpenFile(w.path(jsonForm), os.O_RDWR|os.O_APPEND, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f = nil
	case err != nil:
		return err
	default:
		defer f.Close()
		if err := w.mend(f); err != nil {
			return fmt.Errorf("repair %s: %w", f.Name(), err)
		}
	}
	want, err := lastSet(f)
	if err != nil {
		return err
	}
	for _, form := range []int{textForm, logfmtForm} {
		if ok, err := endsWith(w.path(form), want[form].Bytes()); ok || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := w.rebuild(f, form); err != nil {
			w.o.Note(fmt.Sprintf("%s lacks lines: %v", w.path(form), w.explain(err)))
		} else {
			w.o.Note(fmt.Sprintf("%s was made again from %s", w.path(form), JSONFile))
		}
	}
	return nil
}

// mend ends a last line that lacks only its newline, and cuts one that lacks more.
func (w *Writer) mend(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end, err := lastEnd(f, info.Size())
	torn := info.Size() - end
	if err != nil || torn == 0 {
		return err
	}
	if torn < MaxLine {
		line := make([]byte, torn)
		if _, err := f.ReadAt(line, end); err != nil {
			return err
		}
		if _, err := Parse(line); err == nil {
			if _, err := f.WriteString("\n"); err == nil {
				w.o.Note(fmt.Sprintf("%s: the last line got its newline", f.Name()))
				return w.settled(f)
			}
		}
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	w.o.Note(fmt.Sprintf("%s: %d bytes of a line that was never acknowledged were cut", f.Name(), torn))
	return w.settled(f)
}

func (w *Writer) settled(f *os.File) error {
	if w.o.Sync == SyncNever {
		return nil
	}
	return f.Sync()
}

// newBoot begins new files after a boot. A power cut may have taken lines that a follower had already read; so no new line
// ever stands at their offsets.
func (w *Writer) newBoot() {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return
	}
	was, _ := io.ReadAll(io.LimitReader(w.lock, 64))
	if bytes.Equal(was, id) {
		return
	}
	if w.rotate() != nil {
		return // noted; the next Open tries again
	}
	if _, err := w.lock.WriteAt(id, 0); err != nil {
		w.o.Note(fmt.Sprintf("open traces: %v", err))
	}
}

// firstTime is when the first line was written, about: the time of its request. Zero lines and unreadable ones are new.
func (w *Writer) firstTime() time.Time {
	f, err := os.Open(w.path(jsonForm))
	if err != nil {
		return w.o.Now()
	}
	defer f.Close()
	var head [len(timeKey) + len(timeForm)]byte
	f.ReadAt(head[:], 0)
	if t, ok := quickTime(head[:]); ok {
		return t
	}
	return w.o.Now()
}

const timeKey = `{"time":"`

// quickTime reads the time of a line that Append wrote, without reading the rest.
func quickTime(line []byte) (time.Time, bool) {
	rest, ok := strings.CutPrefix(string(line[:min(len(line), len(timeKey)+len(timeForm))]), timeKey)
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(timeForm, rest)
	return t, err == nil
}
