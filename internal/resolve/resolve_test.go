package resolve

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
)

func find(l *lock.Lock, name string) *lock.Package {
	for i, p := range l.System.Packages {
		if p.Name == name {
			return &l.System.Packages[i]
		}
	}
	return nil
}

func TestResolve(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	r := testRecipe(a)
	l, err := Resolve(context.Background(), r, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, version string
		auto          bool
	}{{"bash", "5.2-1", false}, {"tzdata", "2026a-1", false}, {"hello", "1:2.10-3", false}, {"libhello", "2.0-1", true}, {"linux-image-test", "1.0", false}} {
		p := find(l, c.name)
		if p == nil || p.Version != c.version || p.Auto != c.auto || !strings.HasPrefix(p.URL, a.url+"/archive/pool/") {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	if find(l, "unwanted") != nil {
		t.Error("a recommended package came along")
	}
	at := l.System.Archives[0]
	if at.SignedBy != a.key.fingerprint || at.Suite != "testing" || at.URL != a.url+"/archive" || l.Epoch != a.date.Unix() {
		t.Errorf("%+v %d", at, l.Epoch)
	}
	text, err := lock.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Parse(text); err != nil {
		t.Error(err)
	}
	a.requests()
	again, err := Resolve(context.Background(), r, o, nil)
	if err != nil || lock.Digest(again) != lock.Digest(l) {
		t.Error("resolved again it differs", err)
	}
	if log := a.requests(); slices.ContainsFunc(log, func(s string) bool { return strings.Contains(s, "Packages") }) {
		t.Errorf("an unchanged list was fetched again: %v", log)
	}
	o.Previous = l
	if _, err := Resolve(context.Background(), r, o, nil); err != nil || len(a.requests()) != 0 {
		t.Error("a lock that answers needed the network", err)
	}
}

// TestResolveOffline takes the network away after a first run.
func TestResolveOffline(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	r := testRecipe(a)
	ctx := context.Background()
	o.Offline = true
	if _, err := Resolve(ctx, r, o, nil); !errors.Is(err, ErrOffline) {
		t.Fatal(err)
	}
	o.Offline = false
	l, err := Resolve(ctx, r, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Offline = true
	err = Fetch(ctx, l, o, nil)
	if !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "bash 5.2-1") || fault.HintOf(err) == "" {
		t.Fatal(err)
	}
	o.Offline = false
	if err := Fetch(ctx, l, o, nil); err != nil {
		t.Fatal(err)
	}
	a.setHook(func(w http.ResponseWriter, r *http.Request) bool { t.Errorf("network used: %s", r.URL); return false })
	o.Offline = true
	again, err := Resolve(ctx, r, o, nil)
	if err != nil || lock.Digest(again) != lock.Digest(l) {
		t.Fatal(err)
	}
	if err := Fetch(ctx, again, o, nil); err != nil {
		t.Fatal(err)
	}
}

func TestUntrustedArchives(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, a *testArchive)
		inText string
	}{
		{"unsigned", func(t *testing.T, a *testArchive) {
			a.put("/archive/dists/testing/Release", a.files["/plain-release"])
			delete(a.files, "/archive/dists/testing/InRelease")
		}, "signed"},
		{"plain InRelease", func(t *testing.T, a *testArchive) {
			a.put("/archive/dists/testing/InRelease", a.files["/plain-release"])
		}, "not trusted"},
		{"other key", func(t *testing.T, a *testArchive) {
			a.key = newKey(t)
			a.publish(t)
		}, "not trusted"},
		{"changed Release", func(t *testing.T, a *testArchive) {
			in := a.files["/archive/dists/testing/InRelease"]
			a.put("/archive/dists/testing/InRelease", bytes.Replace(in, []byte("Origin: Test"), []byte("Origin: Tost"), 1))
		}, "not trusted"},
		{"changed Packages", func(t *testing.T, a *testArchive) {
			list := a.files["/archive/dists/testing/main/binary-amd64/Packages"]
			a.put("/archive/dists/testing/main/binary-amd64/Packages", bytes.Replace(list, []byte("2.10-3"), []byte("6.66-6"), 1))
		}, "not trusted"},
		{"expired", func(t *testing.T, a *testArchive) {
			a.validUntil = time.Now().Add(-time.Minute).UTC().Format(time.RFC1123)
			a.publish(t)
		}, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newTestArchive(t)
			o := testOptions(t, a)
			c.spoil(t, a)
			l, err := Resolve(context.Background(), testRecipe(a), o, nil)
			if l != nil || fault.KindOf(err) != fault.Untrusted || !strings.Contains(err.Error(), c.inText) || fault.HintOf(err) == "" {
				t.Errorf("%v (kind %d)", err, fault.KindOf(err))
			}
		})
	}
}

// TestExpiredArchiveByChoice accepts an old archive, and still no unsigned one.
func TestExpiredArchiveByChoice(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	r := testRecipe(a)
	off := false
	r.Base.CheckValidUntil = &off
	a.validUntil = time.Now().Add(-time.Minute).UTC().Format(time.RFC1123)
	a.publish(t)
	if _, err := Resolve(context.Background(), r, o, nil); err != nil {
		t.Fatal(err)
	}
	a.put("/archive/dists/testing/InRelease", a.files["/plain-release"])
	if _, err := Resolve(context.Background(), r, o, nil); fault.KindOf(err) != fault.Untrusted {
		t.Fatal(err)
	}
}

func TestBadRecipes(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	for _, c := range []struct {
		name   string
		change func(*recipe.Recipe)
		want   string
	}{
		{"unknown package", func(r *recipe.Recipe) { r.Base.Packages = []string{"helo", "bahs"} }, `"helo" in the archive; near it: hello`},
		{"all unknown at once", func(r *recipe.Recipe) { r.Base.Packages = []string{"helo", "bahs"} }, `"bahs" in the archive; near it: bash`},
		{"unmet dependency", func(r *recipe.Recipe) { r.Base.Packages = []string{"broken"} }, "not-there"},
		{"unknown release", func(r *recipe.Recipe) { r.Base.Release = "unstable" }, "no such release"},
		{"unknown component", func(r *recipe.Recipe) { r.Base.Components = []string{"main", "extra"} }, "extra"},
		{"a release that is apt syntax", func(r *recipe.Recipe) { r.Base.Release = "x\nTrusted: yes" }, "not the name"},
		{"a mirror that is apt syntax", func(r *recipe.Recipe) { r.Base.Mirror = "http://x/\nTrusted: yes" }, "not an http"},
		{"unknown distribution", func(r *recipe.Recipe) { r.Base.Distribution = "arch" }, "only ubuntu and debian"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := testRecipe(a)
			c.change(r)
			_, err := Resolve(context.Background(), r, o, nil)
			if fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v (kind %d)", err, fault.KindOf(err))
			}
		})
	}
	r := testRecipe(a)
	r.Base.Packages = []string{"virtual"}
	if l, err := Resolve(context.Background(), r, o, nil); err != nil || find(l, "provider") == nil {
		t.Errorf("a virtual package: %v", err)
	}
}

// TestAllFaultsInOrder has something wrong in every part of a recipe: all of it is told, in the recipe's order, and a
// model that would take for ever does not delay it.
func TestAllFaultsInOrder(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	a.setHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/slow.gguf" {
			return false
		}
		<-r.Context().Done()
		return true
	})
	for range 3 {
		r := testRecipe(a)
		r.Base.Packages = []string{"helo"}
		r.Containers = []recipe.Container{{Name: "one", Image: recipe.Image{Archive: "none.tar"}}, {Name: "two", Image: recipe.Image{Layout: "none"}}}
		r.Models = []recipe.Model{{Name: "slow", File: "slow.gguf", Source: a.url + "/slow.gguf"}, {Name: "gone", File: "gone.gguf", Source: "file:gone.gguf"}}
		r.Files = []recipe.File{{Path: "/a", Source: "none.txt"}, {Path: "/b", Source: "none.txt"}}
		_, err := Resolve(t.Context(), r, o, nil)
		if fault.KindOf(err) != fault.Input {
			t.Fatalf("kind %d of %v", fault.KindOf(err), err)
		}
		text := err.Error()
		for _, want := range []string{`"helo"`, "container one", "container two", "model gone", "/a", "/b"} {
			_, rest, ok := strings.Cut(text, want)
			if !ok {
				t.Fatalf("%q is missing, or in another place:\n%s", want, err)
			}
			text = rest
		}
		if strings.Contains(err.Error(), "slow") {
			t.Errorf("the abandoned model is named:\n%s", err)
		}
	}
}

func TestUnreachableArchive(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	r := testRecipe(a)
	r.Base.Mirror = "http://127.0.0.1:1/archive"
	_, err := Resolve(context.Background(), r, o, nil)
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "cannot be reached") || fault.HintOf(err) == "" {
		t.Error(err)
	}
}

// TestTruncatedList drops the connection amid package lists, once and for ever: apt must neither hang nor be content.
func TestTruncatedList(t *testing.T) {
	for _, times := range []int{1, 1 << 30} {
		a := newTestArchive(t)
		data := a.files["/archive/dists/testing/main/binary-amd64/Packages"]
		for _, suite := range []string{"debian/dists/bookworm", "debian/dists/bookworm-updates", "debian-security/dists/bookworm-security"} {
			a.put("/"+suite+"/InRelease", a.files["/archive/dists/testing/InRelease"])
			a.put("/"+suite+"/main/binary-amd64/Packages", data)
		}
		left := times
		a.setHook(func(w http.ResponseWriter, r *http.Request) bool {
			if left == 0 || !strings.HasSuffix(r.URL.Path, "binary-amd64/Packages") {
				return false
			}
			left--
			return cut(w, r, data, len(data)/4)
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r := testRecipe(a)
		r.Base.Release, r.Base.Mirror = "bookworm", a.url+"/debian" // with several suites apt 2.6 waits for ever by default
		_, err := Resolve(ctx, r, testOptions(t, a), nil)
		switch {
		case times == 1 && err != nil:
			t.Errorf("dropped once: %v", err)
		case times > 1 && (ctx.Err() != nil || err == nil || !strings.Contains(err.Error(), "not for long enough") || fault.HintOf(err) == ""):
			t.Errorf("dropped for ever: %v", err)
		}
	}
}

func TestFullDiskUnderApt(t *testing.T) {
	apt := &apt{dir: "/cache/lists/x", archive: &archive{distribution: "ubuntu", release: "jammy"}}
	out := "E: Failed to fetch http://x/InRelease  Error writing to file - write (28: No space left on device)\nE: The repository 'x' is not signed.\n"
	err := aptError(apt, out, errors.New("exit status 100"))
	if fault.KindOf(err) != fault.Failed || !strings.Contains(fault.HintOf(err), "/cache/lists/x") {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}

// TestHostAptIsLeftAlone checks that apt reads and writes nothing of the host's.
func TestHostAptIsLeftAlone(t *testing.T) {
	a := newTestArchive(t)
	o := testOptions(t, a)
	bad := filepath.Join(t.TempDir(), "apt.conf")
	os.WriteFile(bad, []byte("this is no configuration {{{"), 0o644)
	t.Setenv("APT_CONFIG", bad)
	t.Setenv("LANGUAGE", "de")
	before := aptState(t)
	if _, err := Resolve(context.Background(), testRecipe(a), o, nil); err != nil {
		t.Fatal(err)
	}
	if after := aptState(t); before != after {
		t.Errorf("host state changed:\n%s\n%s", before, after)
	}
}

func aptState(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"/var/lib/apt", "/var/lib/apt/lists", "/var/cache/apt"} {
		if info, err := os.Stat(dir); err == nil {
			b.WriteString(dir + info.ModTime().String() + "\n")
		}
	}
	return b.String()
}

func TestMovable(t *testing.T) {
	v := &resolver{Options: Options{BaseDir: "/home/a/recipes"}}
	for in, want := range map[string]string{
		"/home/a/recipes/x/m.gguf": "x/m.gguf", "/home/a/models/m": "../models/m", "/home/b/m": "../../b/m", "/srv/m": "/srv/m",
		"./x": "x", "/home/a/recipes": ".",
	} {
		if got := v.movable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
