package trace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// look opens the present JSON lines and lists the rotated ones, as they were at one instant. Where there is no present
// file, a rotation is under way or nothing was ever written.
func look(dir string) ([]stamp, *os.File, error) {
	for {
		before, err := sources(dir)
		if err != nil {
			return nil, nil, err
		}
		active, err := os.Open(filepath.Join(dir, JSONFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		} else if err != nil {
			active = nil
		}
		after, err := sources(dir)
		if n, m := len(before), len(after); err == nil && (n == 0) == (m == 0) && (n == 0 || before[n-1] == after[m-1]) {
			return after, active, nil
		}
		closeFile(active)
		if err != nil {
			return nil, nil, err
		}
	}
}

// find opens the file of a cursor; of a rotated one that was cut by a power cut all is read.
func find(dir string, c Cursor) (*os.File, int64, error) {
	list, active, err := look(dir)
	if err != nil {
		return nil, 0, err
	}
	f := active
	if f == nil || fileID(f) != c.File {
		closeFile(f)
		f, active = nil, nil
		for _, s := range slices.Backward(list) {
			if f, err = openStamp(dir, s); err == nil && fileID(f) == c.File {
				break
			}
			closeFile(f)
			f = nil
		}
	}
	if f == nil {
		return nil, 0, gone()
	}
	info, err := f.Stat()
	if err == nil && c.Offset >= info.Size() && active == nil {
		return f, info.Size(), nil
	}
	last := []byte{'\n'}
	if err == nil && c.Offset > 0 {
		_, err = f.ReadAt(last, c.Offset-1)
	}
	if err != nil || last[0] != '\n' {
		f.Close()
		return nil, 0, gone()
	}
	return f, c.Offset, nil
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}
