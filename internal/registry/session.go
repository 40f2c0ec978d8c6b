package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxSession = 32 << 10           // bytes of a session's file
	oldSession = 7 * 24 * time.Hour // by then registries have forgotten it
)

// session keeps the address of an upload under way on disk, so that another process goes on after this one's end.
// The address may carry a secret of the registry's: nobody else may read it. A nil session keeps nothing.
type session struct{ f *os.File }

// openSession finds the session of a blob. Where another process pushes the same blob, or the folder cannot be
// written, there is none: an upload that cannot go on later is better than no upload.
func (r *Repository) openSession(d v1.Descriptor) *session {
	if os.MkdirAll(r.o.State, 0o700) != nil {
		return nil
	}
	sum := sha256.Sum256([]byte(r.base.Scheme + "://" + r.String() + "@" + d.Digest.String()))
	f, err := lockFile(filepath.Join(r.o.State, hex.EncodeToString(sum[:])+".upload"))
	if err != nil {
		return nil
	}
	return &session{f}
}

// load returns the address, nil if there is none.
func (s *session) load() *url.URL {
	if s == nil {
		return nil
	}
	var kept struct{ URL string }
	data, err := io.ReadAll(io.NewSectionReader(s.f, 0, maxSession))
	if err != nil || json.Unmarshal(data, &kept) != nil || kept.URL == "" {
		return nil
	}
	u, err := url.Parse(kept.URL)
	if err != nil {
		return nil
	}
	return u
}

// save keeps an address. It is written over the former one; half of one is none.
func (s *session) save(u *url.URL) {
	if s == nil {
		return
	}
	data, _ := json.Marshal(struct{ URL string }{u.String()})
	if len(data) > maxSession || s.f.Truncate(int64(len(data))) != nil {
		return
	}
	_, _ = s.f.WriteAt(data, 0)
}

// drop forgets the address.
func (s *session) drop() {
	if s != nil {
		_ = s.f.Truncate(0)
	}
}

// close lets go; a file that holds nothing goes away.
func (s *session) close() {
	if s == nil {
		return
	}
	if info, err := s.f.Stat(); err == nil && info.Size() == 0 {
		os.Remove(s.f.Name())
	}
	s.f.Close()
}

// sweepSessions removes sessions that no registry remembers.
func (r *Repository) sweepSessions() {
	entries, err := os.ReadDir(r.o.State)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), ".upload") || time.Since(info.ModTime()) < oldSession {
			continue
		}
		if f, err := lockFile(filepath.Join(r.o.State, e.Name())); err == nil {
			os.Remove(f.Name())
			f.Close()
		}
	}
}
