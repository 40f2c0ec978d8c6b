package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// fake is a registry by the letter of the distribution-spec, with faults to order. Blobs and uploads stand in dir,
// so that another fake goes on with them.
type fake struct {
	dir       string
	referrers bool
	page      int                                               // referrers in one answer; 0 means all
	least     int64                                             // OCI-Chunk-Min-Length
	fault     func(w http.ResponseWriter, q *http.Request) bool // true: it answered

	mu        sync.Mutex
	manifests map[string][]byte // by "repository:tag" and "repository@digest"
	types     map[string]string
	sent      map[digest.Digest]int64 // bytes of each blob that went out
	received  int64                   // bytes of blobs that came in
	log       []string
}

func newFake(t testing.TB) *fake {
	f := &fake{dir: t.TempDir(), referrers: true}
	f.clear()
	return f
}

func (f *fake) clear() {
	f.manifests, f.types, f.sent = map[string][]byte{}, map[string]string{}, map[digest.Digest]int64{}
}

// serve starts a server on this machine and returns its address.
func serve(t testing.TB, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func (f *fake) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, q.Method+" "+q.URL.Path+" "+q.Header.Get("Range"))
	f.mu.Unlock()
	if f.fault != nil && f.fault(w, q) {
		return
	}
	path := strings.TrimPrefix(q.URL.Path, "/v2/")
	if path == "" {
		return
	}
	for _, kind := range []struct {
		sep string
		do  func(http.ResponseWriter, *http.Request, string, string)
	}{{"/blobs/uploads/", f.upload}, {"/blobs/", f.blob}, {"/manifests/", f.manifest}, {"/referrers/", f.list}} {
		if repo, rest, ok := strings.Cut(path, kind.sep); ok {
			kind.do(w, q, repo, rest)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (f *fake) path(d string) string { return filepath.Join(f.dir, strings.ReplaceAll(d, ":", "-")) }

type counted struct {
	http.ResponseWriter
	n func(int64)
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n(int64(n))
	return n, err
}

func (f *fake) blob(w http.ResponseWriter, q *http.Request, _, d string) {
	file, err := os.Open(f.path(d))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer file.Close()
	info, _ := file.Stat()
	count := func(n int64) {
		f.mu.Lock()
		f.sent[digest.Digest(d)] += n
		f.mu.Unlock()
	}
	http.ServeContent(counted{w, count}, q, "", info.ModTime(), file)
}

func (f *fake) manifest(w http.ResponseWriter, q *http.Request, repo, ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Method == http.MethodPut {
		raw, _ := io.ReadAll(q.Body)
		d := digest.FromBytes(raw)
		for _, key := range []string{repo + "@" + d.String(), repo + "@" + ref} {
			f.manifests[key], f.types[key] = raw, q.Header.Get("Content-Type")
		}
		var m v1.Manifest
		if json.Unmarshal(raw, &m) == nil && m.Subject != nil && f.referrers {
			w.Header().Set("OCI-Subject", m.Subject.Digest.String())
		}
		w.WriteHeader(http.StatusCreated)
		return
	}
	raw, ok := f.manifests[repo+"@"+ref]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", f.types[repo+"@"+ref])
	w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	_, _ = w.Write(raw)
}

func (f *fake) list(w http.ResponseWriter, q *http.Request, repo, subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.referrers {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	x := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	for key, raw := range f.manifests {
		var m v1.Manifest
		if strings.HasPrefix(key, repo+"@sha256:") && json.Unmarshal(raw, &m) == nil && m.Subject != nil && m.Subject.Digest.String() == subject {
			x.Manifests = append(x.Manifests, v1.Descriptor{MediaType: f.types[key], Digest: digest.FromBytes(raw), Size: int64(len(raw)), ArtifactType: m.ArtifactType})
		}
	}
	if f.page > 0 {
		var skip int
		_, _ = fmt.Sscan(q.URL.Query().Get("skip"), &skip)
		byDigest(x.Manifests)
		rest := x.Manifests[min(skip, len(x.Manifests)):]
		x.Manifests = rest[:min(f.page, len(rest))]
		if len(rest) > f.page {
			w.Header().Set("Link", fmt.Sprintf(`<%s?skip=%d>; rel="next"`, q.URL.Path, skip+f.page))
		}
	}
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	_ = json.NewEncoder(w).Encode(x)
}

func byDigest(all []v1.Descriptor) {
	for i := range all {
		for j := range all[:i] {
			if all[i].Digest < all[j].Digest {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
}

// upload: sessions are files called upload-N.
func (f *fake) upload(w http.ResponseWriter, q *http.Request, repo, id string) {
	if id == "" {
		if d := q.URL.Query().Get("mount"); d != "" {
			if _, err := os.Stat(f.path(d)); err == nil {
				w.WriteHeader(http.StatusCreated)
				return
			}
		}
		file, err := os.CreateTemp(f.dir, "upload-*")
		if err != nil {
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		file.Close()
		if f.least > 0 {
			w.Header().Set("OCI-Chunk-Min-Length", fmt.Sprint(f.least))
		}
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+filepath.Base(file.Name())+"?_state=a%2Bb")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	file, err := os.OpenFile(filepath.Join(f.dir, filepath.Base(id)), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	defer file.Close()
	info, _ := file.Stat()
	answer := func(code int) {
		info, _ := file.Stat()
		w.Header().Set("Location", q.URL.RequestURI())
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(info.Size()-1, 0)))
		w.WriteHeader(code)
	}
	take := func() error {
		n, err := io.Copy(file, q.Body)
		f.mu.Lock()
		f.received += n
		f.mu.Unlock()
		return err
	}
	switch q.Method {
	case http.MethodGet:
		answer(http.StatusNoContent)
	case http.MethodDelete:
		os.Remove(file.Name())
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		var from, to int64
		if n, _ := fmt.Sscanf(q.Header.Get("Content-Range"), "%d-%d", &from, &to); n != 2 || from != info.Size() || to-from+1 != q.ContentLength {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		if take() == nil {
			answer(http.StatusAccepted)
		}
	case http.MethodPut:
		if take() != nil {
			return
		}
		h := sha256.New()
		_, _ = file.Seek(0, io.SeekStart)
		_, _ = io.Copy(h, file)
		if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != q.URL.Query().Get("digest") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"errors":[{"code":"DIGEST_INVALID","message":"\u001b[31mno"}]}`))
			return
		}
		_ = os.Rename(file.Name(), f.path(q.URL.Query().Get("digest")))
		w.WriteHeader(http.StatusCreated)
	}
}

// put stores bytes as a blob at once.
func (f *fake) put(data []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := os.WriteFile(f.path(d.Digest.String()), data, 0o644); err != nil {
		panic(err)
	}
	return d
}

// tag stores a manifest in the repository a/b.
func (f *fake) tag(tag, mediaType string, m any) v1.Descriptor {
	raw, ok := m.([]byte)
	if !ok {
		raw, _ = json.Marshal(m)
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range []string{"a/b@" + d.Digest.String(), "a/b@" + tag} {
		f.manifests[key], f.types[key] = bytes.Clone(raw), mediaType
	}
	return d
}
