package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// cut aborts an answer's connection after n bytes of its body.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// halfBody ends a request's body early.
type halfBody struct {
	io.Reader
	io.Closer
}

// TestFaults: registries that are slow, broken or limited, and yet everything arrives.
func TestFaults(t *testing.T) {
	is := func(q *http.Request, method, part string) bool {
		return q.Method == method && strings.Contains(q.URL.Path, part)
	}
	for name, c := range map[string]struct {
		fault func(f *fake, n int64, w http.ResponseWriter, q *http.Request) bool
		most  float64 // of the bytes, sent
	}{
		"no chunks, 405": {func(_ *fake, _ int64, w http.ResponseWriter, q *http.Request) bool {
			if is(q, "PATCH", "/uploads/") {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			return false
		}, 2.5},
		"no chunks, 416": {func(_ *fake, _ int64, w http.ResponseWriter, q *http.Request) bool {
			if is(q, "PATCH", "/uploads/") {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			return false
		}, 2.5},
		"small requests only": {func(_ *fake, _ int64, w http.ResponseWriter, q *http.Request) bool {
			if strings.Contains(q.URL.Path, "/uploads/") && q.ContentLength > 600<<10 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return true
			}
			return false
		}, 4},
		"429 now and then": {func(_ *fake, n int64, w http.ResponseWriter, _ *http.Request) bool {
			if n%4 != 3 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, 3},
		"500 now and then": {func(_ *fake, n int64, w http.ResponseWriter, _ *http.Request) bool {
			if n%4 == 3 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return n%4 == 3
		}, 3},
		"connections reset": {func(f *fake, n int64, w http.ResponseWriter, q *http.Request) bool {
			switch {
			case n%2 == 0 || f.fault == nil:
				return false
			case is(q, "GET", "/blobs/sha256"):
				f.blob(&cut{w, 300 << 10}, q, "", q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:])
				return true
			case is(q, "PATCH", "/uploads/"):
				q.Body = halfBody{io.LimitReader(q.Body, 200<<10), q.Body}
				f.upload(httptest.NewRecorder(), q, "a/b", q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:])
				panic(http.ErrAbortHandler)
			}
			return false
		}, 3},
		"no ranges": {func(f *fake, n int64, w http.ResponseWriter, q *http.Request) bool {
			if !is(q, "GET", "/blobs/sha256") {
				return false
			}
			q.Header.Del("Range")
			if n%3 == 0 {
				w = &cut{w, mib}
			}
			f.blob(w, q, "", q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:])
			return true
		}, 1},
		"answers get lost": {func(f *fake, n int64, w http.ResponseWriter, q *http.Request) bool {
			if (q.Method == "PUT" || q.Method == "PATCH") && n%3 == 0 {
				if q.Method == "PUT" && strings.Contains(q.URL.Path, "/manifests/") {
					return false
				}
				f.upload(httptest.NewRecorder(), q, "a/b", q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:])
				panic(http.ErrAbortHandler)
			}
			return false
		}, 3},
		"wants larger chunks": {func(f *fake, _ int64, w http.ResponseWriter, q *http.Request) bool {
			if is(q, "PATCH", "/uploads/") && q.ContentLength < f.least && strings.HasPrefix(q.Header.Get("Content-Range"), "0-") {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			return false
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, f := newSample(t, 5*mib+77), newFake(t)
			if name == "wants larger chunks" {
				f.least = 2 * mib
			}
			var n atomic.Int64
			f.fault = func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/v2/" {
					return false
				}
				return c.fault(f, n.Add(1), w, q)
			}
			r := open(t, serve(t, f)+"/a/b:1", Options{})
			sent := must[*Sent](t)(Push(context.Background(), s.layout, s.root, r, PushOptions{}, nil))
			if float64(sent.Bytes) > c.most*float64(s.total) || sent.Sent == 0 {
				t.Errorf("%+v for %d bytes", sent, s.total)
			}
			s.pulled(r)
			if left, _ := filepath.Glob(r.o.State + "/*"); len(left) > 0 {
				t.Errorf("sessions left: %v", left)
			}
		})
	}
}

// TestSessionGoesOn: another process goes on with an upload, and starts anew where the registry forgot it.
func TestSessionGoesOn(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	host, state := serve(t, f), t.TempDir()
	data := noise(9, 8*mib)
	d := v1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	n := 0
	f.fault = func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == "PATCH" {
			if n++; n > 3 {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
		}
		return false
	}
	r := open(t, host+"/a/b", Options{State: state})
	if err := r.PutBlob(ctx, d, bytes.NewReader(data)); err == nil {
		t.Fatal("no error")
	}
	f.fault = nil
	if f.received != 3*mib {
		t.Fatalf("%d bytes came first", f.received)
	}
	if err := open(t, host+"/a/b", Options{State: state}).PutBlob(ctx, d, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if f.received != d.Size {
		t.Errorf("%d bytes of %d were sent", f.received, d.Size)
	}
	stale := open(t, host+"/a/c", Options{State: state})
	s := stale.openSession(v1.Descriptor{Digest: digest.FromString("x")})
	s.save(stale.address("blobs", "uploads", "gone"))
	s.close()
	other := noise(10, 2*mib)
	d = v1.Descriptor{Digest: digest.FromBytes(other), Size: int64(len(other))}
	s = stale.openSession(d)
	s.save(stale.address("blobs", "uploads", "gone"))
	s.close()
	if err := stale.PutBlob(ctx, d, bytes.NewReader(other)); err != nil {
		t.Error(err)
	}
}

// TestRestart ends the registry in the midst of a push and a pull, and starts it again with the same storage.
func TestRestart(t *testing.T) {
	p := startRegistry(t, "docker-registry")
	s := newSample(t, 24*mib)
	restart := func() func(done int64) {
		var once atomic.Bool
		return func(done int64) {
			if done > s.total/3 && once.CompareAndSwap(false, true) {
				p.kill()
				time.Sleep(100 * time.Millisecond)
				p.start()
			}
		}
	}
	r := open(t, p.address+"/a/b:1", Options{Pause: 50 * time.Millisecond})
	again := restart()
	must[*Sent](t)(Push(context.Background(), s.layout, s.root, r, PushOptions{}, func(e event) { again(e.Done) }))
	dir := t.TempDir()
	l := must[*artifact.Layout](t)(artifact.CreateLayout(filepath.Join(dir, "oci")))
	again = restart()
	must[*Got](t)(Pull(context.Background(), r, s.root, l, PullOptions{Files: dir, Tag: "1.0.0"}, func(e event) { again(e.Done) }))
	s.same(l, dir)
}

// TestMount takes blobs over from another repository.
func TestMount(t *testing.T) {
	s := newSample(t, 2*mib)
	p := startRegistry(t, "docker-registry")
	first := must[*Sent](t)(Push(context.Background(), s.layout, s.root, open(t, p.address+"/a/b:1", Options{}), PushOptions{}, nil))
	r := open(t, p.address+"/c/d:1", Options{})
	sent := must[*Sent](t)(Push(context.Background(), s.layout, s.root, r, PushOptions{MountFrom: p.address + "/a/b"}, nil))
	if sent.Bytes != 0 || sent.Mounted != first.Sent {
		t.Errorf("%+v after %+v", sent, first)
	}
	s.pulled(r)
	if _, err := Push(context.Background(), s.layout, s.root, r, PushOptions{MountFrom: "elsewhere/a"}, nil); err == nil {
		t.Error("mounted from another registry")
	}
}

// TestReferrersPages: a list in pages, and one that lies.
func TestReferrersPages(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	f.page = 2
	r := open(t, serve(t, f)+"/a/b", Options{})
	subject := f.tag("1", v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex})
	for i := range 7 {
		m, _ := json.Marshal(v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: "a/b", Subject: &subject, Annotations: map[string]string{"i": fmt.Sprint(i)}})
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(m), Size: int64(len(m))}
		if err := r.PutManifest(ctx, d, m, ""); err != nil {
			t.Fatal(err)
		}
	}
	if all := must[[]v1.Descriptor](t)(r.Referrers(ctx, subject.Digest)); len(all) != 7 || all[0].ArtifactType != "a/b" || all[0].Annotations["i"] == "" {
		t.Errorf("%v", all)
	}
	f.page, f.referrers = 0, false
	alien := f.tag("2", v1.MediaTypeImageManifest, v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: "x/y"})
	f.tag(fallbackTag(subject.Digest), v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{alien, {Digest: "sha256:../x"}, {}}})
	if all := must[[]v1.Descriptor](t)(r.Referrers(ctx, subject.Digest)); len(all) != 0 {
		t.Errorf("%v", all)
	}
}

// TestFallbackTagRace: what another writer overwrote is entered again.
func TestFallbackTagRace(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	f.referrers = false
	host := serve(t, f)
	subject := f.tag("1", v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex})
	done := make(chan error)
	for i := range 4 {
		r := open(t, host+"/a/b", Options{}) // as other processes would
		go func() {
			m, _ := json.Marshal(v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: "a/b", Subject: &subject, Annotations: map[string]string{"i": fmt.Sprint(i)}})
			done <- r.PutManifest(ctx, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(m), Size: int64(len(m))}, m, "")
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// Two that wrote at one moment may both have seen themselves: no more is promised than that each looked again.
	if all := must[[]v1.Descriptor](t)(open(t, host+"/a/b", Options{}).Referrers(ctx, subject.Digest)); len(all) < 2 {
		t.Errorf("%d of 4", len(all))
	}
}

// TestSourceChanged: a file that is not what the manifest says stops the push before the manifest.
func TestSourceChanged(t *testing.T) {
	for _, size := range []int{mib / 2, 5 * mib} {
		s, f := newSample(t, size), newFake(t)
		s.disk[len(s.disk)-5] ^= 1
		overwrite(t, filepath.Join(s.dir, "saiga-1.qcow2"), s.disk)
		r := open(t, serve(t, f)+"/a/b:1", Options{})
		if _, err := Push(context.Background(), s.layout, s.root, r, PushOptions{}, nil); err == nil {
			t.Error("no error")
		}
		if len(f.manifests) > 0 {
			t.Errorf("%d manifests", len(f.manifests))
		}
	}
}

// TestOpenAgain: a registry that is not ready yet is asked again, one that is not there is not waited for.
func TestOpenAgain(t *testing.T) {
	f := newFake(t)
	n := 0
	f.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n < 3
	}
	host := serve(t, f)
	r := open(t, host+"/a/b:1", Options{})
	if n != 3 || r.Reference() != "1" || r.String() != host+"/a/b" {
		t.Errorf("%d, %s, %s", n, r, r.Reference())
	}
	gone := httptest.NewServer(f)
	gone.Close()
	if _, err := Open(context.Background(), strings.TrimPrefix(gone.URL, "http://")+"/a/b", quick(t, Options{Pause: time.Hour})); fault.HintOf(err) == "" {
		t.Error(err)
	}
	for _, bad := range []string{"", "http://x/y", "x/y:b c", "x/../y", host + "/a/b@sha256:1"} {
		if _, err := Open(context.Background(), bad, quick(t, Options{})); fault.KindOf(err) != fault.Input {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestOtherDigest: nothing is pushed under a digest that is not its own.
func TestOtherDigest(t *testing.T) {
	s := newSample(t, mib)
	r := open(t, serve(t, newFake(t))+"/a/b@"+digest.FromString("x").String(), Options{})
	if _, err := Push(context.Background(), s.layout, s.root, r, PushOptions{}, nil); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	if err := r.PutManifest(context.Background(), s.root, must[[]byte](t)(s.layout.Manifest(context.Background(), s.root)), "../x"); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}
