package rootfs

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// member is one file of an ar archive.
type member struct {
	name string
	*io.SectionReader
}

// arMembers reads the table of an ar archive in the form of deb(5): short names, decimal sizes, even offsets.
func arMembers(r io.ReaderAt, size int64) ([]member, error) {
	var buf [arHeader]byte
	if _, err := r.ReadAt(buf[:len(arMagic)], 0); err != nil || string(buf[:len(arMagic)]) != arMagic {
		return nil, errors.New("not an ar archive")
	}
	var list []member
	for at := int64(len(arMagic)); at < size; {
		if len(list) == 16 {
			return nil, errors.New("ar archive with too many members")
		}
		if _, err := r.ReadAt(buf[:], at); err != nil {
			return nil, fmt.Errorf("ar header at byte %d: %w", at, err)
		}
		n, err := strconv.ParseInt(strings.TrimRight(string(buf[48:58]), " "), 10, 64)
		at += arHeader
		if err != nil || string(buf[58:60]) != "`\n" || n < 0 || n > size-at {
			return nil, fmt.Errorf("bad ar header at byte %d", at-arHeader)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(buf[:16]), " "), "/")
		list = append(list, member{name, io.NewSectionReader(r, at, n)})
		at += n + n&1
	}
	return list, nil
}
