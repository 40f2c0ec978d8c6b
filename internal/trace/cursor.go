package trace

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// Cursor is a place between two lines. It holds over restarts, rotations and moves to another machine. The zero Cursor is
// before the oldest line there is.
type Cursor struct {
	File   string // names a file by its first line, whatever it is called now
	Offset int64  // bytes
}

// ErrGone is that the file of a cursor is no longer kept: lines may have been missed. Begin again with the zero Cursor.
var ErrGone = errors.New("the traces at this place are gone")

func gone() error {
	return fault.Mark(fault.Input, fault.Hint(ErrGone, "begin with an empty cursor, the oldest line that is kept"))
}

var cursorForm = regexp.MustCompile(`^[0-9a-f]{16}:(0|[1-9]\d{0,17})$`)

// String is FILE:OFFSET, or "" for the zero Cursor.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return c.File + ":" + strconv.FormatInt(c.Offset, 10)
}

// ParseCursor reads what String wrote. An error has kind Input.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	if !cursorForm.MatchString(s) {
		return Cursor{}, fault.Mark(fault.Input, fmt.Errorf("cursor %.60q is not of the form FILE:OFFSET", s))
	}
	file, off, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(off, 10, 64)
	return Cursor{file, n}, err
}

// MarshalText is String.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCursor.
func (c *Cursor) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCursor(string(b))
	return err
}

// End returns the place behind the last line.
func End(dir string) (Cursor, error) {
	list, active, err := look(dir)
	if err != nil {
		return Cursor{}, fmt.Errorf("end of traces: %w", err)
	}
	defer closeFile(active)
	for i := len(list); i >= 0; i-- {
		f := active
		if i < len(list) {
			if f, err = openStamp(dir, list[i]); err != nil {
				continue // pruned meanwhile
			}
			defer f.Close()
		}
		if f == nil {
			continue
		}
		if c, err := endOf(f); err != nil || c.File != "" {
			return c, err
		}
	}
	return Cursor{}, nil
}

func endOf(f *os.File) (Cursor, error) {
	info, err := f.Stat()
	if err != nil {
		return Cursor{}, err
	}
	end, err := lastEnd(f, info.Size())
	if err != nil || end == 0 {
		return Cursor{}, err
	}
	return Cursor{fileID(f), end}, nil
}

// fileID is the digest of the first 512 bytes of the first line, "" while there is none. It begins with time and id.
func fileID(f io.ReaderAt) string {
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0)
	i := bytes.IndexByte(head[:n], '\n')
	if i < 0 && n < len(head) {
		return ""
	} else if i < 0 {
		i = n
	}
	sum := sha256.Sum256(head[:i])
	return hex.EncodeToString(sum[:8])
}
