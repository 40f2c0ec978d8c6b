package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/progress"
)

type event = progress.Event

func overwrite(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMain lets the test program be the one that is killed: child VERB REFERENCE STATE FOLDER.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(verb, ref, state, dir string) error {
	ctx := context.Background()
	r, err := Open(ctx, ref, Options{State: state, Chunk: mib, Pause: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	l, err := artifact.CreateLayout(filepath.Join(dir, "oci"))
	if err != nil {
		return err
	}
	if verb == "pull" {
		root, err := r.Resolve(ctx, r.Reference())
		if err == nil {
			_, err = Pull(ctx, r, root, l, PullOptions{Files: dir, Tag: "1.0.0"}, nil)
		}
		return err
	}
	root, err := l.Resolve(ctx, "1.0.0")
	if err != nil {
		return err
	}
	disk, err := os.ReadFile(filepath.Join(dir, "saiga-1.qcow2"))
	if err != nil {
		return err
	}
	provideDisk(ctx, l, dir, root, len(disk))
	_, err = Push(ctx, l, root, r, PushOptions{}, nil)
	return err
}

// provideDisk says where the parts of the sample's disk are.
func provideDisk(ctx context.Context, l *artifact.Layout, dir string, root v1.Descriptor, size int) {
	g, err := walkManifests(ctx, l, root)
	if err != nil {
		panic(err)
	}
	for _, n := range g {
		if n.doc.ArtifactType == diskType+"qcow2" {
			at := int64(0)
			for _, d := range n.doc.Layers {
				l.Provide(d, filepath.Join(dir, "saiga-1.qcow2"), at)
				at += d.Size
			}
		}
	}
}

func walkManifests(ctx context.Context, l *artifact.Layout, root v1.Descriptor) ([]node, error) {
	g, err := walk(ctx, l, root)
	if err != nil {
		return nil, err
	}
	return g.nodes, nil
}

// slow lets bytes of blobs pass at a rate, so that kills fall in their midst.
type slow struct {
	http.ResponseWriter
	mu   *sync.Mutex
	free *time.Time
	rate float64 // bytes a second, of all together
}

func (s slow) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		one := min(len(p)-n, 32<<10)
		s.mu.Lock()
		now := time.Now()
		if s.free.Before(now) {
			*s.free = now
		}
		*s.free = s.free.Add(time.Duration(float64(one) / s.rate * 1e9))
		wait := s.free.Sub(now)
		s.mu.Unlock()
		time.Sleep(wait)
		if _, err := s.ResponseWriter.Write(p[n : n+one]); err != nil {
			return n, err
		}
		n += one
	}
	return len(p), nil
}

// narrow keeps little in flight: what a socket holds when its reader is killed is lost, and would hide the rest.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(16 << 10)
	}
	return c, err
}

func serveNarrow(t testing.TB, h http.Handler) string {
	s := httptest.NewUnstartedServer(h)
	s.Listener = narrow{s.Listener}
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// killed runs the child until it is done, and ends it with SIGKILL ten times before, once it has made more headway.
func killed(t *testing.T, headway func() int64, total int64, args ...string) {
	t.Helper()
	for i := range 11 {
		cmd := exec.Command(os.Args[0], append([]string{"child"}, args...)...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		if i < 10 {
			for deadline := time.Now().Add(60 * time.Second); headway() < total*int64(i+1)/11; {
				select {
				case err := <-done:
					t.Fatalf("the child ended by itself, after %d of %d bytes: %v", headway(), total, err)
				case <-time.After(2 * time.Millisecond):
				}
				if time.Now().After(deadline) {
					t.Fatalf("no headway: %d of %d bytes", headway(), total)
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		err := <-done
		if stopped := (*exec.ExitError)(nil); i < 10 && !errors.As(err, &stopped) || i == 10 && err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
	}
}

// TestPullKilled: a pull cut ten times ends with the right bytes and fetches less than 1 % of them twice.
func TestPullKilled(t *testing.T) {
	size := 120 * mib
	s, f := newSample(t, size), newFake(t)
	host := serveNarrow(t, f)
	must[*Sent](t)(Push(context.Background(), s.layout, s.root, open(t, host+"/a/b:1", Options{}), PushOptions{}, nil))
	var mu sync.Mutex
	var free time.Time
	f.fault = func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method != "GET" || filepath.Base(filepath.Dir(q.URL.Path)) != "blobs" {
			return false
		}
		f.blob(slow{w, &mu, &free, 60 * mib}, q, "", filepath.Base(q.URL.Path))
		return true
	}
	out := func() (n int64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, sent := range f.sent {
			n += sent
		}
		return n
	}
	dir := t.TempDir()
	killed(t, out, s.total, "pull", host+"/a/b:1", t.TempDir(), dir)
	l := must[*artifact.Layout](t)(artifact.OpenLayout(filepath.Join(dir, "oci")))
	provideDisk(context.Background(), l, dir, s.root, size)
	s.same(l, dir)
	again := out() - s.total
	t.Logf("%d of %d bytes came twice: %.2f %%", again, s.total, 100*float64(again)/float64(s.total))
	if again > s.total/100 {
		t.Error("that is more than 1 %")
	}
}

// TestPushKilled: the same the other way, where the registry tells how much it has.
func TestPushKilled(t *testing.T) {
	s, f := newSample(t, 60*mib), newFake(t)
	in := func() int64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.received
	}
	f.fault = func(_ http.ResponseWriter, q *http.Request) bool {
		if q.Method == "PATCH" {
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}
	host := serve(t, f)
	killed(t, in, s.total, "push", host+"/a/b:1", t.TempDir(), s.dir)
	again := in() - s.total
	t.Logf("%d of %d bytes went twice: %.2f %%", again, s.total, 100*float64(again)/float64(s.total))
	if again > s.total*8/100 { // blobs of one request are sent anew, up to four at a time
		t.Error("that is too much")
	}
	f.fault = nil
	s.pulled(open(t, host+"/a/b:1", Options{}))
}
