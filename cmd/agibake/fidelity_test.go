package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fidelity"
	"github.com/agibake/agibake/internal/referee/llama"
)

// inProcess runs one command line, with all files in the test's folder.
func inProcess(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	root := newRoot(a)
	root.SetArgs(args)
	code = a.fail(root.ExecuteContext(t.Context()))
	return code, out.String()
}

// captured makes a state with a snapshot of it in a layout, and a baseline of its files.
func captured(t *testing.T, args ...string) (l *artifact.Layout, snapshot v1.Descriptor, core string, baseline []byte) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, dir)
	}
	core = filepath.Join(dir, "core")
	if err := llama.State(core); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{
		append([]string{"state", "capture", core, "--to", "oci:" + dir + "/store"}, args...),
		{"fidelity", "record", "--root", core, "-o", dir + "/base.json"},
	} {
		if code, out := inProcess(t, line...); code != 0 {
			t.Fatalf("%q: %s", line, out)
		}
	}
	l, err := artifact.OpenLayout(dir + "/store")
	if err == nil {
		snapshot, err = l.Resolve(t.Context(), "latest")
	}
	if err == nil {
		baseline, err = os.ReadFile(dir + "/base.json")
	}
	if err != nil {
		t.Fatal(err)
	}
	return l, snapshot, core, baseline
}

// stamp is when a baseline says that it was recorded.
func stamp(t *testing.T, data []byte) string {
	t.Helper()
	b, err := fidelity.DecodeBaseline(data)
	if err != nil {
		t.Fatal(err)
	}
	return b.Recorded.Format(time.RFC3339)
}

// TestHostileBaselines puts what anybody could put beside a snapshot there.
func TestHostileBaselines(t *testing.T) {
	l, snapshot, core, good := captured(t)
	at := stamp(t, good)
	other := snapshot
	other.Digest = digest.FromString("another")
	for _, c := range []struct {
		name, kind, at string
		subject        v1.Descriptor
		data           []byte
		code           int
		says           string
	}{
		{"none", "", "", snapshot, nil, 3, "not found"},
		{"of another snapshot", fidelity.MediaType, at, other, good, 3, "not found"},
		{"of another type", "application/json", at, snapshot, good, 3, "not found"},
		{"sealed by nobody knows whom", fidelity.MediaType + "+age", at, snapshot, good, 3, "not found"},
		{"good", fidelity.MediaType, at, snapshot, good, 0, "The same mind as far as it was asked"},
		{"no JSON", fidelity.MediaType, "2090-01-01T00:00:00Z", snapshot, []byte("x"), 3, "decode baseline"},
		{"an unknown field", fidelity.MediaType, "2090-01-01T00:00:01Z", snapshot, bytes.Replace(good, []byte(`{"schema"`), []byte(`{"x":1,"schema"`), 1), 3, "not in the form"},
		{"huge", fidelity.MediaType, "2090-01-01T00:00:02Z", snapshot, make([]byte, maxStored+1), 4, "are accepted"},
		{"another time", fidelity.MediaType, "2090-01-01T00:00:03Z", snapshot, good, 4, "another time"},
	} {
		if c.kind != "" {
			if _, err := artifact.PutReferrer(t.Context(), l, c.subject, artifact.Referrer{Type: c.kind, Title: "x", Data: c.data,
				Annotations: map[string]string{v1.AnnotationCreated: c.at}}); err != nil {
				t.Fatal(err)
			}
		}
		code, out := inProcess(t, "fidelity", "check", "--root", core, "--snapshot", "oci:"+filepath.Dir(core)+"/store")
		if code != c.code || !strings.Contains(strings.Join(strings.Fields(out), " "), c.says) {
			t.Errorf("%s: exit code %d\n%s", c.name, code, out)
		}
	}
}

// TestSealedSnapshotsWantSealedBaselines: one in clear would be somebody else's.
func TestSealedSnapshotsWantSealedBaselines(t *testing.T) {
	t.Setenv("AGIBAKE_PASSPHRASE", "secret")
	l, snapshot, core, good := captured(t, "--seal-passphrase")
	check := []string{"fidelity", "check", "--root", core, "--snapshot", "oci:" + filepath.Dir(core) + "/store"}
	for kind, want := range map[string]int{fidelity.MediaType: 3, fidelity.MediaType + "+age": 4} {
		d, err := artifact.PutReferrer(t.Context(), l, snapshot, artifact.Referrer{Type: kind, Title: "x", Data: good, Annotations: map[string]string{v1.AnnotationCreated: stamp(t, good)}})
		if err != nil {
			t.Fatal(err)
		}
		if code, out := inProcess(t, check...); code != want {
			t.Errorf("%s: exit code %d\n%s", kind, code, out)
		}
		if err := l.Delete(t.Context(), d.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnsignedFlood: many unsigned baselines are neither used nor all looked at.
func TestUnsignedFlood(t *testing.T) {
	l, snapshot, core, good := captured(t)
	t.Setenv("AGIBAKE_KEY_PASSWORD", "secret")
	key, store := filepath.Dir(core)+"/maker", "oci:"+filepath.Dir(core)+"/store"
	for _, line := range [][]string{{"keygen", "-o", key}, {"state", "sign", store, "--key", key + ".key"}} {
		if code, out := inProcess(t, line...); code != 0 {
			t.Fatal(out)
		}
	}
	begin := time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range maxTried + 5 {
		if _, err := artifact.PutReferrer(t.Context(), l, snapshot, artifact.Referrer{Type: fidelity.MediaType, Title: "x", Data: good,
			Annotations: map[string]string{v1.AnnotationCreated: begin.Add(time.Duration(i) * time.Second).Format(time.RFC3339)}}); err != nil {
			t.Fatal(err)
		}
	}
	code, out := inProcess(t, "fidelity", "check", "--root", core, "--snapshot", store, "--key", key+".pub")
	if code != 4 || !strings.Contains(out, "it is not signed") || !strings.Contains(out, "hint: agibake fidelity record --sign-key") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
