package resolve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/referee"
)

// signKey is a key pair made for one test.
type signKey struct {
	home, armored, fingerprint string
}

func newKey(t *testing.T) *signKey {
	t.Helper()
	referee.Need(t, "gpg", "gpgv", "apt-get")
	home, err := os.MkdirTemp("", "gpg") // short: the agent's socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	k := &signKey{home: home}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	k.gpg(t, nil, "--passphrase", "", "--quick-generate-key", "Test Archive <archive@example.org>", "ed25519", "sign", "never")
	k.armored = string(k.gpg(t, nil, "--armor", "--export"))
	for line := range strings.Lines(string(k.gpg(t, nil, "--with-colons", "--list-keys"))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && k.fingerprint == "" {
			k.fingerprint = f[9]
		}
	}
	return k
}

func (k *signKey) gpg(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--homedir", k.home}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v %s", args, err, &stderr)
	}
	return out
}

// deb is one package of a test archive.
type deb struct {
	name, version, fields string
	data                  []byte
}

// testArchive is a signed archive in memory behind an HTTP server.
type testArchive struct {
	key        *signKey
	debs       []deb
	validUntil string
	date       time.Time

	mu    sync.Mutex
	files map[string][]byte
	hook  func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	log   []string
	url   string
}

func newTestArchive(t *testing.T) *testArchive {
	t.Helper()
	a := &testArchive{key: newKey(t), files: map[string][]byte{}, date: time.Now().Add(-time.Hour)}
	startServer(t, a)
	a.debs = []deb{
		{"bash", "5.2-1", "Essential: yes\nPriority: required\n", nil},
		{"tzdata", "2026a-1", "Priority: required\n", nil},
		{"hello", "1:2.10-3", "Depends: libhello (>= 2)\nRecommends: unwanted\n", nil},
		{"libhello", "1.0-1", "", nil},
		{"libhello", "2.0-1", "", nil},
		{"unwanted", "1", "", nil},
		{"broken", "1", "Depends: not-there\n", nil},
		{"provider", "1", "Provides: virtual (= 3)\n", nil},
	}
	for _, name := range testRecipe(a).RequiredPackages() {
		a.debs = append(a.debs, deb{name, "1.0", "", nil})
	}
	a.publish(t)
	return a
}

func startServer(t *testing.T, a *testArchive) {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.url = s.URL
}

// testRecipe asks for hello from the archive.
func testRecipe(a *testArchive) *recipe.Recipe {
	return &recipe.Recipe{Name: "t", Version: "1", Base: recipe.Base{
		Distribution: "debian", Release: "testing", Mirror: a.url + "/archive", Components: []string{"main"},
		Kernel: "linux-image-test", Packages: []string{"hello"},
	}}
}

func (a *testArchive) put(name string, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[name] = data
}

// publish writes lists, Release and signature.
func (a *testArchive) publish(t *testing.T) {
	t.Helper()
	var packages bytes.Buffer
	for i := range a.debs {
		d := &a.debs[i]
		if d.data == nil {
			d.data = bytes.Repeat([]byte(d.name+d.version+"\n"), 3000)
		}
		name := fmt.Sprintf("pool/%s_%s_amd64.deb", d.name, strings.ReplaceAll(d.version, ":", "%3a"))
		fmt.Fprintf(&packages, "Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: T <t@example.org>\n%sFilename: %s\nSize: %d\nSHA256: %x\nDescription: test\n more\n\n",
			d.name, d.version, d.fields, name, len(d.data), sha256.Sum256(d.data))
		a.put("/archive/"+strings.ReplaceAll(name, "%3a", ":"), d.data)
	}
	list := packages.Bytes()
	a.put("/archive/dists/testing/main/binary-amd64/Packages", list)
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: Test\nLabel: Test\nSuite: testing\nCodename: testing\nDate: %s\n", a.date.UTC().Format(time.RFC1123))
	if a.validUntil != "" {
		fmt.Fprintf(&release, "Valid-Until: %s\n", a.validUntil)
	}
	fmt.Fprintf(&release, "Architectures: amd64\nComponents: main\nSHA256:\n %x %d main/binary-amd64/Packages\n", sha256.Sum256(list), len(list))
	a.put("/archive/dists/testing/InRelease", a.key.gpg(t, release.Bytes(), "--clearsign"))
	a.put("/plain-release", release.Bytes())
}

func (a *testArchive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.log = append(a.log, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	data, ok := a.files[r.URL.Path]
	hook := a.hook
	a.mu.Unlock()
	if hook != nil && hook(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(data)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, path.Base(r.URL.Path), time.Time{}, bytes.NewReader(data))
}

// requests returns what was asked for since the last call.
func (a *testArchive) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	log := a.log
	a.log = nil
	return log
}

func (a *testArchive) setHook(h func(w http.ResponseWriter, r *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hook = h
}

func testOptions(t *testing.T, a *testArchive) Options {
	t.Helper()
	return Options{Store: testStore(t), BaseDir: t.TempDir(), Keyrings: map[string]string{"debian": a.key.armored}, pause: time.Millisecond}
}

func testStore(t *testing.T) *cas.Store {
	t.Helper()
	s, err := cas.Open(filepath.Join(t.TempDir(), "a cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
