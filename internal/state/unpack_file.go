package state

import (
	"archive/tar"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/sparse"
)

func (u *unpacker) file(a *archive, t *tar.Reader, name string, m *member) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	s := newSums(&holes{f: f})
	for left := m.size; left > 0; {
		n, err := t.Read(u.buf[:min(left, int64(len(u.buf)))])
		if left -= int64(n); left > 0 && err != nil {
			return a.unreadable(err, false)
		}
		if _, err := s.Write(u.buf[:n]); err != nil {
			return err
		}
	}
	m.md5, m.sha256 = s.md5.Sum(nil), s.sha256.Sum(nil)
	return errors.Join(f.Truncate(m.size), f.Close())
}

// holes writes a file and leaves out what is all zeros.
type holes struct {
	f  *os.File
	at int64
}

func (h *holes) Write(p []byte) (n int, err error) {
	if n = len(p); !sparse.IsZero(p) {
		n, err = h.f.WriteAt(p, h.at)
	}
	h.at += int64(n)
	return n, err
}

// hardLink gives a file that came before a second name.
func (u *unpacker) hardLink(name string, m *member) error {
	target, err := inside(m.target)
	old := u.seen[target]
	if err != nil || old == nil || old.kind != File {
		return hostile("it is a hard link to %.200q, which is no file before it in the archive", m.target)
	}
	m.size = old.size
	if err := u.charge("", m); err != nil { // whoever reads it reads it again
		return err
	}
	m.kind, m.mode, m.uid, m.gid, m.md5, m.sha256 = File, old.mode, old.uid, old.gid, old.md5, old.sha256
	return u.root.Link(target, name)
}
