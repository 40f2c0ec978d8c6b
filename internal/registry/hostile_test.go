package registry

import (
	"bytes"
	"compress/gzip"
	"context"

	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// endless is a body without end.
func endless(w http.ResponseWriter, q *http.Request, first string) {
	_, _ = io.WriteString(w, first)
	junk := bytes.Repeat([]byte(" "), 64<<10)
	for q.Context().Err() == nil {
		if _, err := w.Write(junk); err != nil {
			return
		}
	}
}

// drip sends a byte now and then.
func drip(w http.ResponseWriter, q *http.Request) {
	for q.Context().Err() == nil {
		if _, err := w.Write([]byte("x")); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

// TestHostile: each is refused soon, with little memory, and touches nothing but the output folder.
func TestHostile(t *testing.T) {
	manifest := func(layers ...v1.Descriptor) v1.Manifest {
		empty := v1.DescriptorEmptyJSON
		return v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: empty, Layers: layers}
	}
	disk := func(titles ...string) func(*fake) {
		return func(f *fake) {
			m := manifest()
			m.ArtifactType = diskType + "qcow2"
			for i, title := range titles {
				d := f.put([]byte(fmt.Sprint("part ", i)))
				d.Annotations = map[string]string{v1.AnnotationTitle: title}
				m.Layers = append(m.Layers, d)
			}
			f.tag("1", v1.MediaTypeImageManifest, m)
		}
	}
	on := func(part string, do func(w http.ResponseWriter, q *http.Request)) func(*fake) {
		return func(f *fake) {
			data := noise(7, 3*mib)
			f.tag("1", v1.MediaTypeImageManifest, manifest(f.put(data)))
			f.fault = func(w http.ResponseWriter, q *http.Request) bool {
				if q.Method == http.MethodGet && strings.Contains(q.URL.Path, part) {
					do(w, q)
					return true
				}
				return false
			}
		}
	}
	blob := digest.FromBytes(noise(7, 3*mib)).String()
	for name, c := range map[string]struct {
		make func(*fake)
		kind fault.Kind
	}{
		"wrong bytes of a blob": {on(blob, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noise(8, 3*mib)) }), fault.Untrusted},
		"blob too long":         {on(blob, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(noise(7, 3*mib), 0)) }), fault.Untrusted},
		"blob too short":        {on(blob, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noise(7, 3*mib-1)) }), 0},
		"another size declared": {on(blob, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
		}), fault.Untrusted},
		"endless blob":  {on(blob, func(w http.ResponseWriter, q *http.Request) { endless(w, q, "") }), fault.Untrusted},
		"dripping blob": {on(blob, drip), fault.Failed},
		"silent blob":   {on(blob, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }), fault.Failed},
		"another range": {on(blob, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
		}), fault.Failed},
		"gzip of a blob": {on(blob, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(noise(7, 3*mib))
			z.Close()
		}), fault.Untrusted},
		"redirect in a circle": {on(blob, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, q.URL.String(), http.StatusTemporaryRedirect)
		}), fault.Failed},
		"manifest of 100 MB": {on("/manifests/", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
			w.Header().Set("Content-Length", "100000000")
			_, _ = w.Write(make([]byte, 8*mib))
		}), fault.Untrusted},
		"endless manifest":        {on("/manifests/", func(w http.ResponseWriter, q *http.Request) { endless(w, q, "{") }), fault.Untrusted},
		"dripping manifest":       {on("/manifests/", drip), fault.Failed},
		"manifest that is a page": {on("/manifests/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }), fault.Input},
		"headers without end": {on("/manifests/", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 40 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 16<<10))
			}
		}), fault.Failed},
		"a million entries": {func(f *fake) {
			f.tag("1", v1.MediaTypeImageIndex, []byte(`{"mediaType":"`+v1.MediaTypeImageIndex+`","manifests":[{}`+strings.Repeat(",{}", 1000000)+`]}`))
		}, fault.Untrusted},
		"index of itself": {func(f *fake) {
			d := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromString("self"), Size: 400}
			raw, _ := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}})
			f.tag("1", v1.MediaTypeImageIndex, raw)
			f.tag(d.Digest.String(), v1.MediaTypeImageIndex, raw)
		}, fault.Untrusted},
		"indexes without end": {func(f *fake) {
			var d []v1.Descriptor
			for range 20 {
				d = []v1.Descriptor{f.tag("1", v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: d})}
			}
		}, fault.Untrusted},
		"many manifests": {func(f *fake) {
			var all []v1.Descriptor
			for i := range 1100 {
				m := manifest()
				m.Annotations = map[string]string{"i": fmt.Sprint(i)}
				all = append(all, f.tag("x", v1.MediaTypeImageManifest, m))
			}
			f.tag("1", v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: all})
		}, fault.Untrusted},
		"negative size": {func(f *fake) {
			f.tag("1", v1.MediaTypeImageManifest, manifest(v1.Descriptor{Digest: digest.FromString("x"), Size: -5}))
		}, fault.Untrusted},
		"two sizes": {func(f *fake) {
			d := f.put([]byte("x"))
			two := d
			two.Size = 2
			f.tag("1", v1.MediaTypeImageManifest, manifest(d, two))
		}, fault.Untrusted},
		"digest that is a path": {func(f *fake) {
			f.tag("1", v1.MediaTypeImageManifest, manifest(v1.Descriptor{Digest: "sha256:../../../../etc/passwd", Size: 5}))
		}, fault.Untrusted},
		"petabytes": {func(f *fake) {
			f.tag("1", v1.MediaTypeImageManifest, manifest(v1.Descriptor{Digest: digest.FromString("x"), Size: 1 << 43}))
		}, fault.Failed}, // no disk has room for it
		"title leads up":      {disk("../escape.qcow2"), fault.Untrusted},
		"title is absolute":   {disk("/tmp/escape.qcow2"), fault.Untrusted},
		"title hides":         {disk(".bashrc.qcow2"), fault.Untrusted},
		"title of a part":     {disk("../x.qcow2.part-001", "../x.qcow2.part-002"), fault.Untrusted},
		"titles that differ":  {disk("x.qcow2.part-001", "y.qcow2.part-002"), fault.Untrusted},
		"parts out of order":  {disk("x.qcow2.part-002", "x.qcow2.part-001"), fault.Untrusted},
		"title too long":      {disk(strings.Repeat("x", 250) + ".qcow2"), fault.Untrusted},
		"another type's name": {disk("index.html"), fault.Untrusted},
		"no title":            {disk(""), fault.Untrusted},
		"a referrers list without end": {func(f *fake) {
			on("/none/", nil)(f)
			f.fault = func(w http.ResponseWriter, q *http.Request) bool {
				if !strings.Contains(q.URL.Path, "/referrers/") {
					return false
				}
				w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
				w.Header().Set("Link", "<"+q.URL.Path+`?again>; rel="next"`)
				_, _ = io.WriteString(w, `{"manifests":[]}`)
				return true
			}
		}, fault.Untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			c.make(f)
			f.put([]byte("{}"))
			o := Options{Pause: time.Millisecond, Stall: 150 * time.Millisecond}
			if !strings.Contains(name, "drip") && !strings.Contains(name, "silent") {
				o.Stall = 10 * time.Second
			}
			r := open(t, serve(t, f)+"/a/b:1", o)
			outside := t.TempDir()
			dir := filepath.Join(outside, "out")
			l := must[*artifact.Layout](t)(artifact.CreateLayout(filepath.Join(dir, "oci")))
			peak := watchMemory(t)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			root, err := r.Resolve(ctx, "1")
			if err == nil {
				_, err = Pull(ctx, r, root, l, PullOptions{Files: dir, Tag: "1"}, nil)
			}
			if err == nil || ctx.Err() != nil || c.kind != 0 && fault.KindOf(err) != c.kind {
				t.Errorf("kind %d: %v", fault.KindOf(err), err)
			}
			if n := peak(); n > 64*mib {
				t.Errorf("%d MiB of memory", n/mib)
			}
			if left, _ := filepath.Glob(outside + "/*"); len(left) != 1 {
				t.Errorf("outside the folder: %v", left)
			}
			if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
				t.Errorf("in the folder: %v", left)
			}
			if x := must[*v1.Index](t)(l.Index(ctx)); len(x.Manifests) > 0 {
				t.Errorf("the layout lists %v", x.Manifests)
			}
			if err != nil && (len(err.Error()) > 1500 || strings.ContainsAny(err.Error(), "\x1b\r")) {
				t.Errorf("the error: %.300q", err)
			}
		})
	}
}

// watchMemory returns how much more heap there was than at the beginning, at most.
func watchMemory(t *testing.T) func() uint64 {
	var base, m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	stop, top := make(chan struct{}), make(chan uint64)
	go func() {
		high := uint64(0)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > base.HeapAlloc {
				high = max(high, m.HeapAlloc-base.HeapAlloc)
			}
			select {
			case <-tick.C:
			case <-stop:
				top <- high
				return
			}
		}
	}()
	t.Helper()
	return func() uint64 { close(stop); return <-top }
}

// keys are credentials for one host.
type keys struct{ host string }

func (k keys) Resolve(res authn.Resource) (authn.Authenticator, error) {
	if res.RegistryStr() == k.host {
		return &authn.Basic{Username: "user", Password: "secret"}, nil
	}
	return authn.Anonymous, nil
}

var basic = "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))

// TestCredentialsStay: neither redirects nor places of uploads on other hosts get credentials.
func TestCredentialsStay(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	var leaked []string
	elsewhere := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if a := q.Header.Get("Authorization") + q.Header.Get("Cookie"); a != "" {
			leaked = append(leaked, q.Method+" "+a)
		}
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "ask") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.ServeHTTP(w, q)
	}))
	f.fault = nil
	inner := newFake(t)
	data := noise(3, mib)
	d := f.put(data)
	inner.fault = func(w http.ResponseWriter, q *http.Request) bool {
		switch {
		case q.Header.Get("Authorization") != basic:
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/"):
			http.Redirect(w, q, "http://"+elsewhere+q.URL.Path, http.StatusTemporaryRedirect)
		case q.Method == http.MethodPost:
			file, _ := os.CreateTemp(f.dir, "upload-*")
			file.Close()
			w.Header().Set("Location", "http://"+elsewhere+"/v2/a/b/blobs/uploads/"+filepath.Base(file.Name()))
			w.WriteHeader(http.StatusAccepted)
		default:
			return false
		}
		return true
	}
	host := serve(t, inner)
	r := open(t, host+"/a/b", Options{Keychain: keys{host}})
	if got, err := artifact.ReadBlob(ctx, r, d, mib); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	other := noise(4, 2*mib+5)
	if err := r.PutBlob(ctx, v1.Descriptor{Digest: digest.FromBytes(other), Size: int64(len(other))}, bytes.NewReader(other)); err != nil {
		t.Error(err)
	}
	if len(leaked) > 0 {
		t.Errorf("leaked: %v", leaked)
	}
	if _, err := Open(ctx, host+"/a/b", quick(t, Options{Keychain: keys{"other"}})); err == nil {
		_, err = open(t, host+"/a/b", Options{Keychain: keys{"other"}}).Resolve(ctx, "1")
		if fault.KindOf(err) != fault.Input || fault.HintOf(err) != "docker login "+host {
			t.Errorf("%v: %s", err, fault.HintOf(err))
		}
	}
}

// TestToken: the handshake of docker, with a token that runs out in the midst of a push.
func TestToken(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	tokens, uses := 0, 0
	realm := ""
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/token" {
			if q.Header.Get("Authorization") != basic {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			tokens++
			uses = 0
			_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprint("t", tokens), "expires_in": 60})
			return
		}
		if uses++; q.Header.Get("Authorization") != fmt.Sprint("Bearer t", tokens) || uses > 12 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="s",scope="repository:a/b:pull,push"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.ServeHTTP(w, q)
	}))
	realm = "http://" + host + "/token"
	s := newSample(t, 4*mib)
	r := open(t, host+"/a/b:1", Options{Keychain: keys{host}, Concurrency: 1})
	must[*Sent](t)(Push(ctx, s.layout, s.root, r, PushOptions{}, nil))
	s.pulled(r)
	if tokens < 3 {
		t.Errorf("%d tokens", tokens)
	}
	_, err := Open(ctx, host+"/a/b:1", quick(t, Options{Keychain: keys{"other"}}))
	if fault.KindOf(err) != fault.Input || fault.HintOf(err) != "docker login "+host || strings.Contains(fmt.Sprint(err), "secret") {
		t.Errorf("%v: %s", err, fault.HintOf(err))
	}
}

// TestTLS: our own authority, an unknown one, and http where https is wanted.
func TestTLS(t *testing.T) {
	ctx := context.Background()
	f := newFake(t)
	data := noise(1, mib)
	d := f.put(data)
	secure := httptest.NewUnstartedServer(f)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	_, err := Open(ctx, host+"/a/b", quick(t, Options{}))
	if fault.HintOf(err) == "" || !strings.Contains(fault.HintOf(err), "--ca") {
		t.Errorf("%v: %s", err, fault.HintOf(err))
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	overwrite(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	r := open(t, host+"/a/b", Options{CA: ca})
	if got, err := artifact.ReadBlob(ctx, r, d, mib); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	plain := serve(t, f)
	f.fault = func(w http.ResponseWriter, q *http.Request) bool {
		if q.TLS != nil && q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			http.Redirect(w, q, "http://"+plain+q.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		if q.TLS != nil && q.Method == http.MethodPost {
			w.Header().Set("Location", "http://"+plain+"/v2/a/b/blobs/uploads/x")
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		return false
	}
	if _, err := r.Blob(ctx, d, 0); !errors.Is(err, errPlain) || fault.KindOf(err) != fault.Untrusted {
		t.Errorf("https led to http: %v", err)
	}
	other := v1.Descriptor{Digest: digest.FromString("x"), Size: 1}
	if err := r.PutBlob(ctx, other, strings.NewReader("x")); !errors.Is(err, errPlain) {
		t.Errorf("an upload led to http: %v", err)
	}
	if _, err := Open(ctx, host+"/a/b", quick(t, Options{CA: filepath.Join(t.TempDir(), "none")})); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	// A host that is not this machine is spoken to in http only when asked; a dialler stands in for the name.
	away := func(o Options) error {
		o.Transport = rewriting{plain, http.DefaultTransport.(*http.Transport).Clone()}
		_, err := Open(ctx, "registry.example/a/b", quick(t, o))
		return err
	}
	if err := away(Options{}); !strings.Contains(fault.HintOf(err), "--plain-http") {
		t.Errorf("%v: %s", err, fault.HintOf(err))
	}
	if err := away(Options{PlainHTTP: true}); err != nil {
		t.Error(err)
	}

}

// rewriting sends everything to one server.
type rewriting struct {
	host string
	next *http.Transport
}

func (r rewriting) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.URL.Host = r.host
	return r.next.RoundTrip(q)
}

// TestAnotherFile: a file of the disk's name that is something else stays as it is, links are not followed.
func TestAnotherFile(t *testing.T) {
	s := newSample(t, mib)
	r := open(t, serve(t, newFake(t))+"/a/b:1", Options{})
	must[*Sent](t)(Push(context.Background(), s.layout, s.root, r, PushOptions{}, nil))
	for name, prepare := range map[string]func(dir, victim string){
		"another file":                        func(dir, _ string) { overwrite(t, dir+"/saiga-1.qcow2", noise(99, mib)) },
		"a link":                              func(dir, victim string) { _ = os.Symlink(victim, dir+"/saiga-1.qcow2") },
		"a link in place of the partial file": func(dir, victim string) { _ = os.Symlink(victim, dir+"/.saiga-1.qcow2.partial") },
		"a folder":                            func(dir, _ string) { _ = os.Mkdir(dir+"/saiga-1.qcow2", 0o755) },
	} {
		dir := t.TempDir()
		victim := filepath.Join(t.TempDir(), "victim")
		overwrite(t, victim, []byte("mine"))
		l := must[*artifact.Layout](t)(artifact.CreateLayout(dir + "/oci"))
		prepare(dir, victim)
		if _, err := Pull(context.Background(), r, s.root, l, PullOptions{Files: dir, Tag: "1"}, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if data, _ := os.ReadFile(victim); string(data) != "mine" {
			t.Errorf("%s: the file outside is %q", name, data)
		}
	}
}

// TestPartialDamaged: a partial file that somebody changed costs its part anew, and no wrong byte.
func TestPartialDamaged(t *testing.T) {
	s, f := newSample(t, 6*mib), newFake(t)
	host := serve(t, f)
	r := open(t, host+"/a/b:1", Options{Concurrency: 1})
	must[*Sent](t)(Push(context.Background(), s.layout, s.root, r, PushOptions{}, nil))
	dir := t.TempDir()
	l := must[*artifact.Layout](t)(artifact.CreateLayout(dir + "/oci"))
	second := digest.FromBytes(s.disk[len(s.disk)*3/5:])
	f.fault = func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.HasSuffix(q.URL.Path, second.String()) {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	if _, err := Pull(context.Background(), r, s.root, l, PullOptions{Files: dir}, nil); err == nil {
		t.Fatal("no error")
	}
	f.fault = nil
	f.sent = map[digest.Digest]int64{}
	partial, err := os.OpenFile(dir+"/.saiga-1.qcow2.partial", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = partial.WriteAt([]byte("damage"), 1000)
	partial.Close()
	s.pulledTo(r, dir)
	if first := digest.FromBytes(s.disk[:len(s.disk)*3/5]); f.sent[first] != int64(len(s.disk)*3/5) {
		t.Errorf("%d bytes of the damaged part came", f.sent[first])
	}
}
