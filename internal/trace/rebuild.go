package trace

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/agibake/agibake/internal/atomicfile"
)

// lastSet renders the last record of the JSON lines; f may be nil.
func lastSet(f *os.File) (set lineSet, err error) {
	if f == nil {
		return set, nil
	}
	info, err := f.Stat()
	if err != nil {
		return set, err
	}
	b, err := newBackward(f, info.Size())
	for err == nil {
		var line []byte
		if line, _, err = b.next(); line == nil || err != nil {
			break
		}
		if r, err := Parse(line); err == nil {
			appendText(&set[textForm], r)
			appendLogfmt(&set[logfmtForm], r)
			break
		}
	}
	return set, err
}

// endsWith says whether a file ends with want, or is empty where want is.
func endsWith(path string, want []byte) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return len(want) == 0, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < int64(len(want)) || len(want) == 0 {
		return err == nil && info.Size() == 0 && len(want) == 0, err
	}
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, info.Size()-int64(len(want)))
	return bytes.Equal(got, want), err
}

// rebuild makes a form from the JSON lines. If there is no room, at least no half line stays.
func (w *Writer) rebuild(from *os.File, form int) error {
	out, err := atomicfile.CreatePrivate(w.path(form))
	if err == nil {
		defer out.Abort()
		if err = errors.Join(out.Chmod(0o640), render(out, from, form)); err == nil {
			err = out.Commit()
		}
	}
	if err == nil {
		return nil
	}
	f, open := os.OpenFile(w.path(form), os.O_RDWR, 0)
	if open != nil {
		return err
	}
	defer f.Close()
	if info, stat := f.Stat(); stat == nil {
		if end, cut := lastEnd(f, info.Size()); cut == nil {
			err = errors.Join(err, f.Truncate(end))
		}
	}
	return err
}

func render(out io.Writer, from *os.File, form int) error {
	if from == nil {
		return nil
	}
	w, l := bufio.NewWriterSize(out, chunk), newLines(from, 0)
	for {
		line, err := l.next()
		if err != nil {
			return err
		}
		if line == nil {
			return w.Flush()
		}
		r, err := Parse(line)
		if err != nil {
			continue
		}
		var b bytes.Buffer
		if form == textForm {
			appendText(&b, r)
		} else {
			appendLogfmt(&b, r)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
}
