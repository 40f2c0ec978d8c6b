package resolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/recipe"
)

// serve returns a server of one file and a lock of one package that is that file.
func serve(t *testing.T) (*testArchive, *lock.Lock, Options) {
	t.Helper()
	a := &testArchive{files: map[string][]byte{}}
	startServer(t, a)
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	a.put("/x.deb", data)
	p := lock.Package{Name: "x", Version: "1", URL: a.url + "/x.deb", Size: int64(len(data)), SHA256: hexSum(data)}
	return a, &lock.Lock{System: lock.Packages{Packages: []lock.Package{p}}}, Options{Store: testStore(t), pause: time.Millisecond}
}

func TestFetchCountsBytes(t *testing.T) {
	_, l, o := serve(t)
	var last progress.Event
	if err := Fetch(context.Background(), l, o, func(e progress.Event) { last = e }); err != nil {
		t.Fatal(err)
	}
	if size := l.System.Packages[0].Size; last.Done != size || last.Total != size || !last.Bytes || !last.End {
		t.Errorf("%+v", last)
	}
}

func TestFetchFailures(t *testing.T) {
	for _, c := range []struct {
		name string
		hook func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool
		kind fault.Kind
		is   error
		text string
	}{
		{"retry after 5xx", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			if n <= 3 {
				w.WriteHeader(503)
			}
			return n <= 3
		}, 0, nil, ""},
		{"5xx for ever", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.WriteHeader(502)
			return true
		}, fault.Failed, nil, "502"},
		{"gone", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.WriteHeader(404)
			return true
		}, fault.Failed, ErrGone, "404"},
		{"tampered", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			bad := bytes.Clone(data)
			bad[5]++
			w.Write(bad)
			return true
		}, fault.Untrusted, nil, "sha256"},
		{"another size", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.Write(data[:100])
			return true
		}, fault.Untrusted, nil, "100 bytes"},
		{"larger without a declared size", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			w.(http.Flusher).Flush()
			w.Write(data)
			w.Write([]byte("more"))
			return true
		}, fault.Untrusted, cas.ErrTooLarge, ""},
		{"cut again and again", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			return cut(w, r, data, 100_000)
		}, 0, nil, ""},
		{"cut without ranges", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			r.Header.Del("Range")
			return cut(w, r, data, 100_000)
		}, fault.Failed, nil, "EOF"},
		{"a wrong range", func(n int32, w http.ResponseWriter, r *http.Request, data []byte) bool {
			if n == 1 {
				return cut(w, r, data, 1000)
			}
			if r.Header.Get("Range") == "" {
				return false
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
			w.WriteHeader(206)
			w.Write(data)
			return true
		}, 0, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, l, o := serve(t)
			var n atomic.Int32
			a.setHook(func(w http.ResponseWriter, r *http.Request) bool { return c.hook(n.Add(1), w, r, a.files["/x.deb"]) })
			err := Fetch(context.Background(), l, o, nil)
			if fault.KindOf(err) != c.kind || c.is != nil && !errors.Is(err, c.is) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v (kind %d)", err, fault.KindOf(err))
			}
			p := l.System.Packages[0]
			if o.Store.Has(p.SHA256, p.Size) != (c.kind == 0) {
				t.Error("the store is wrong")
			}
			if err != nil && fault.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// cut sends some bytes of the wanted range and drops the connection.
func cut(w http.ResponseWriter, r *http.Request, data []byte, n int) bool {
	from := 0
	if s := r.Header.Get("Range"); s != "" {
		fmt.Sscanf(s, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
	if from > 0 {
		w.WriteHeader(206)
	}
	w.Write(data[from:min(len(data), from+n)])
	return true
}

// TestKilledDownload kills a process in the middle of a download; the next one asks for the rest only.
func TestKilledDownload(t *testing.T) {
	if dir := os.Getenv("RESOLVE_TEST_FETCH"); dir != "" {
		fetchInChild(dir)
	}
	a, l, o := serve(t)
	half, stop := make(chan bool), make(chan bool)
	a.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		data := a.files["/x.deb"]
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:len(data)/2])
		w.(http.Flusher).Flush()
		close(half)
		<-stop
		return true
	})
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledDownload$")
	p := l.System.Packages[0]
	cmd.Env = append(os.Environ(), "RESOLVE_TEST_FETCH="+o.Store.Dir(), "RESOLVE_TEST_URL="+p.URL, "RESOLVE_TEST_SUM="+p.SHA256, fmt.Sprintf("RESOLVE_TEST_SIZE=%d", p.Size))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	for o.Store.Has(p.SHA256, -1) || partialSize(o.Store, p.SHA256) < p.Size/2 {
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	close(stop)
	a.setHook(nil)
	a.requests()
	if err := Fetch(context.Background(), l, o, nil); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("GET /x.deb bytes=%d-", p.Size/2)
	if log := a.requests(); len(log) != 1 || log[0] != want {
		t.Errorf("%v, want %s", log, want)
	}
}

func partialSize(s *cas.Store, digest string) int64 {
	info, err := os.Stat(s.Dir() + "/partial/" + digest)
	if err != nil {
		return -1
	}
	return info.Size()
}

func fetchInChild(dir string) {
	s, err := cas.Open(dir)
	if err != nil {
		os.Exit(3)
	}
	p := lock.Package{URL: os.Getenv("RESOLVE_TEST_URL"), SHA256: os.Getenv("RESOLVE_TEST_SUM")}
	fmt.Sscan(os.Getenv("RESOLVE_TEST_SIZE"), &p.Size)
	l := &lock.Lock{System: lock.Packages{Packages: []lock.Package{p}}}
	Fetch(context.Background(), l, Options{Store: s}, nil)
	os.Exit(4)
}

// TestSpoiledPartial starts from wrong bytes that an earlier run left.
func TestSpoiledPartial(t *testing.T) {
	_, l, o := serve(t)
	p := l.System.Packages[0]
	part, err := o.Store.Partial(context.Background(), p.SHA256, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	part.Write([]byte("these bytes are not of that file"))
	part.Close()
	if err := Fetch(context.Background(), l, o, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFetchManyAtOnce(t *testing.T) {
	a := &testArchive{files: map[string][]byte{}}
	startServer(t, a)
	l := &lock.Lock{}
	for i := range 100 {
		data := bytes.Repeat([]byte{byte(i)}, 1000+i)
		name := fmt.Sprintf("p%d", i)
		a.put("/"+name, data)
		l.System.Packages = append(l.System.Packages, lock.Package{Name: name, URL: a.url + "/" + name, Size: int64(len(data)), SHA256: hexSum(data)})
	}
	store := testStore(t)
	done := make(chan error)
	for range 2 { // two fetches of the same at once
		go func() { done <- Fetch(context.Background(), l, Options{Store: store}, func(progress.Event) {}) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if log := a.requests(); len(log) != 100 {
		t.Errorf("%d requests", len(log))
	}
}

func TestModelSources(t *testing.T) {
	a, _, o := serve(t)
	o.BaseDir = t.TempDir()
	ctx := context.Background()
	data := a.files["/x.deb"]
	os.WriteFile(o.BaseDir+"/m.gguf", []byte("weights"), 0o644)
	base := &lock.Lock{Recipe: recipe.Recipe{}}
	resolve := func(m recipe.Model) (lock.File, error) {
		r := &recipe.Recipe{Models: []recipe.Model{m}}
		v := newResolver(o, r, nil)
		v.Previous = base
		return v.model(ctx, 0, m)
	}
	f, err := resolve(recipe.Model{Name: "m", File: "m", Source: "file:m.gguf"})
	if err != nil || f.SHA256 != hexSum([]byte("weights")) || f.Size != 7 || f.Source != "file:m.gguf" {
		t.Errorf("%+v %v", f, err)
	}
	l := &lock.Lock{Models: []lock.File{f}}
	if err := Fetch(ctx, l, o, nil); err != nil {
		t.Error(err)
	}
	a.requests()
	if f, err = resolve(recipe.Model{Name: "m", File: "m", Source: a.url + "/x.deb", SHA256: hexSum(data)}); err != nil || f.Size != int64(len(data)) {
		t.Errorf("%+v %v", f, err)
	}
	if log := a.requests(); len(log) != 1 || !strings.HasPrefix(log[0], "HEAD") {
		t.Errorf("%v: a pinned model is fetched by Fetch only", log)
	}
	if f, err = resolve(recipe.Model{Name: "m", File: "m", Source: a.url + "/x.deb"}); err != nil || f.SHA256 != hexSum(data) || !o.Store.Has(f.SHA256, f.Size) {
		t.Errorf("%+v %v", f, err)
	}
	for _, source := range []string{"file:m.gguf", a.url + "/x.deb"} {
		wrong := strings.Repeat("0", 64)
		f, err := resolve(recipe.Model{Name: "m", File: "m", Source: source, SHA256: wrong})
		if err == nil {
			err = Fetch(ctx, &lock.Lock{Models: []lock.File{f}}, o, nil)
		}
		if fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err = resolve(recipe.Model{Name: "m", File: "m", Source: a.url + "/none"}); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	os.WriteFile(o.BaseDir+"/m.gguf", []byte("changed"), 0o644)
	l.Models[0].SHA256 = strings.Repeat("1", 64)
	if err := Fetch(ctx, l, o, nil); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
}

// stored is another source of inputs.
type stored map[string]string

func (s stored) Get(ctx context.Context, into *cas.Store, sum string, size int64, report func(int64)) (bool, error) {
	text, ok := s[sum]
	if !ok {
		return false, nil
	}
	_, _, err := into.Put(ctx, strings.NewReader(text), sum, size, report)
	return true, err
}

// TestInputs: another source comes first, and is the only one for local files of a lock that came with an appliance.
func TestInputs(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	weights := stored{hexSum([]byte("weights")): "weights"}
	l := &lock.Lock{Models: []lock.File{{Name: "m", Path: "m.gguf", Source: "file:.", Size: 7, SHA256: hexSum([]byte("weights"))}}}
	o.BaseDir = ""
	err := Fetch(t.Context(), l, o, nil)
	if fault.KindOf(err) != fault.Input || !strings.Contains(fault.HintOf(err), "--inputs") {
		t.Errorf("a local file of somebody else: %v", err)
	}
	o.Inputs = stored{hexSum([]byte("weights")): "weight!"}
	if err := Fetch(t.Context(), l, o, nil); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("other bytes: %v", err)
	}
	o.Inputs = weights
	if err := Fetch(t.Context(), l, o, nil); err != nil || !o.Store.Has(hexSum([]byte("weights")), 7) {
		t.Error(err)
	}
}
