package preload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"github.com/agibake/agibake/internal/referee"
)

const archive = "http://archive.ubuntu.com/ubuntu/"

// get downloads a file of the archive once and checks its digest; want "" means that the caller checks it.
func get(t testing.TB, name, want string) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(cache, "agibake", "test", want)
	data, err := os.ReadFile(kept)
	if want == "" || err != nil {
		answer, err := http.Get(archive + name)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if data, err = io.ReadAll(io.LimitReader(answer.Body, 256<<20)); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("get %s: %s, %v", name, answer.Status, err)
		}
	}
	if want == "" {
		return data
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
		t.Fatalf("%s has another digest than its signed index says", name)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// index returns the digests of the .debs of some packages of a suite, by file name, from the archive's signed index.
func index(t testing.TB, suite string, packages ...string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	signed := filepath.Join(dir, "InRelease")
	if err := os.WriteFile(signed, get(t, "dists/"+suite+"/InRelease", ""), 0o600); err != nil {
		t.Fatal(err)
	}
	armored, err := os.ReadFile("../resolve/keyrings/ubuntu.asc")
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(dir, "Release")
	keyring := filepath.Join(dir, "keyring.gpg")
	if err := os.WriteFile(keyring, dearmor(t, armored), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "gpgv", "--keyring", keyring, "--output", release, signed)
	text, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	debs := map[string]string{}
	for _, component := range []string{"main", "universe"} {
		name := component + "/binary-amd64/Packages.xz"
		var digest string
		for line := range strings.Lines(string(text)) { // the last list of a Release file is SHA256
			if f := strings.Fields(line); len(f) == 3 && f[2] == name {
				digest = f[0]
			}
		}
		r, err := xz.NewReader(bytes.NewReader(get(t, "dists/"+suite+"/"+name, digest)))
		if err != nil {
			t.Fatal(err)
		}
		list, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for paragraph := range strings.SplitSeq(string(list), "\n\n") {
			field := func(key string) string {
				_, rest, _ := strings.Cut("\n"+paragraph, "\n"+key+": ")
				value, _, _ := strings.Cut(rest, "\n")
				return value
			}
			if slices.Contains(packages, field("Package")) {
				debs[field("Filename")] = field("SHA256")
			}
		}
	}
	if len(debs) != len(packages) {
		t.Fatalf("%s has %v of %v", suite, debs, packages)
	}
	return debs
}

// dearmor turns an ASCII-armored keyring into the binary one that gpgv reads.
func dearmor(t testing.TB, data []byte) []byte {
	t.Helper()
	cmd := exec.Command("gpg", "--dearmor")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg --dearmor: %v", err)
	}
	return out
}

// TestE2EJammyDocker lets the containerd and the Docker of Ubuntu 22.04 judge a placed store and run a container of it.
func TestE2EJammyDocker(t *testing.T) {
	referee.E2E(t) // downloads Ubuntu's containerd and Docker, and runs them as root
	needTools(t, "dpkg-deb", "gpgv", "gpg", "umoci", "tar", "mount")
	dist := t.TempDir()
	for suite, packages := range map[string][]string{
		"jammy-updates": {"containerd", "runc", "docker.io"},
		"jammy":         {"libnftables1", "libjansson4", "libxtables12", "libnftnl11"},
	} {
		for name, digest := range index(t, suite, packages...) {
			deb := filepath.Join(t.TempDir(), "deb")
			if err := os.WriteFile(deb, get(t, name, digest), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "dpkg-deb", "-x", deb, dist)
		}
	}
	bin := filepath.Join(dist, "usr", "bin")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Run("containerd", func(t *testing.T) { judge(t, filepath.Join(bin, "containerd"), filepath.Join(bin, "ctr"), 3) })
	t.Run("docker", func(t *testing.T) {
		static, err := os.ReadFile(filepath.Join(bin, "docker-init")) // a static program that can say its version
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("LD_LIBRARY_PATH", filepath.Join(dist, "usr/lib/x86_64-linux-gnu"))
		dockerJudge(t, bin, static)
	})
}

func dockerJudge(t *testing.T, bin string, static []byte) {
	im := makeImage(t, "agibake/model:v1", tarOf(t, "d bin", "f bin/old x", "0755:0 f bin/server "+string(static)), tarOf(t, "f bin/.wh.old", "d etc"))
	other := refereeImage(t)
	root := t.TempDir()
	extract(t, place(t, im, other).Tree, root)
	_, socket := startContainerd(t, filepath.Join(bin, "containerd"), filepath.Join(bin, "ctr"), root, 3)
	dir := t.TempDir()
	host := "unix://" + filepath.Join(dir, "d")
	daemon(t, filepath.Join(dir, "log"), filepath.Join(bin, "dockerd"), "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "-H", host, "--containerd", socket,
		"--iptables=false", "--ip6tables=false", "--bridge=none")
	docker := func(args ...string) string {
		t.Helper()
		return run(t, filepath.Join(bin, "docker"), append([]string{"-H", host}, args...)...)
	}
	for i := 0; exec.Command(filepath.Join(bin, "docker"), "-H", host, "version").Run() != nil; i++ {
		if i == 100 {
			t.Fatal("docker does not answer")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := docker("info", "-f", "{{.Driver}} {{.DriverStatus}}"); !strings.Contains(got, "overlayfs [[driver-type io.containerd.snapshotter.v1]]") {
		t.Errorf("a fresh docker does not use containerd's store: %s", got)
	}
	list := docker("image", "ls", "--digests", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
	for _, want := range []string{
		fmt.Sprintf("agibake/model:v1 %s\n", digest.FromBytes(im.Manifest)),
		fmt.Sprintf("registry.example/org/model:v1 %s\n", digest.FromBytes(other.Manifest)),
	} {
		if !strings.Contains(list, want) {
			t.Errorf("docker image ls lacks %q: %s", want, list)
		}
	}
	var inspect []struct {
		RootFS struct{ Layers []string }
	}
	if err := json.Unmarshal([]byte(docker("image", "inspect", "agibake/model:v1")), &inspect); err != nil || len(inspect[0].RootFS.Layers) != 2 {
		t.Errorf("inspect: %+v, %v", inspect, err)
	}
	docker("create", "--name", "one", "--network", "none", "agibake/model:v1", "/bin/server", "--version")
	if got := docker("diff", "one"); strings.Contains(got, "old") {
		t.Errorf("a new container differs from its image: %s", got)
	}
	out := filepath.Join(dir, "c.tar")
	docker("export", "-o", out, "one")
	if names := run(t, "tar", "tf", out); !strings.Contains(names, "bin/server") || strings.Contains(names, "bin/old") {
		t.Errorf("the container holds %s", names)
	}
	docker("save", "-o", filepath.Join(dir, "save.tar"), "agibake/model:v1")
	cmd := exec.Command(filepath.Join(bin, "docker"), "-H", host, "run", "--rm", "--network", "none", "--entrypoint", "/bin/server", "agibake/model:v1", "--version")
	if got, err := cmd.CombinedOutput(); err == nil {
		if !strings.Contains(string(got), "tini version") {
			t.Errorf("docker run printed %q", got)
		}
	} else {
		t.Logf("docker run does not work on this host: %v: %s", err, got)
	}
	docker("rm", "one")
	docker("image", "rm", "agibake/model:v1")
	if got := docker("image", "ls"); strings.Contains(got, "agibake/model") {
		t.Errorf("still there after image rm: %s", got)
	}
}
