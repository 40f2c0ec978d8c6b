package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agibake/agibake/internal/bake"
)

// referees lets foreign tools judge every output of a bake.
func referees(t *testing.T, dir string) {
	base := filepath.Join(dir, filepath.Base(dir))
	raw := base + ".raw"
	must(t, "sgdisk", "-v", raw)
	for number, fsck := range map[int][]string{2: {"fsck.fat", "-n"}, 3: {"e2fsck", "-fn"}, 4: {"e2fsck", "-fn"}} {
		part := filepath.Join(t.TempDir(), "part")
		extract(t, raw, number, part)
		must(t, fsck[0], append(fsck[1:], part)...)
		os.Remove(part)
	}
	must(t, "qemu-img", "check", base+".qcow2")
	for _, ext := range []string{".qcow2", ".vmdk"} {
		must(t, "qemu-img", "compare", raw, base+ext)
	}
	unpacked := t.TempDir()
	must(t, "tar", "-xf", base+".ova", "-C", unpacked)
	disks, _ := filepath.Glob(unpacked + "/*.vmdk")
	manifest, _ := filepath.Glob(unpacked + "/*.mf")
	if len(disks) != 1 || len(manifest) != 1 {
		t.Fatalf("the OVA holds disks %q, manifests %q", disks, manifest)
	}
	must(t, "qemu-img", "compare", raw, disks[0])
	checkManifest(t, manifest[0])
	c := exec.Command("sha256sum", "-c", "--quiet", "SHA256SUMS")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	must(t, "skopeo", "inspect", "oci:"+dir+"/oci:1.0.0") // the index: skopeo finds the rootfs in it by platform
	must(t, "skopeo", "--insecure-policy", "copy", "oci:"+dir+"/oci:1.0.0-rootfs", "dir:"+t.TempDir())
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// extract copies one partition, which the referee finds, out of a raw disk.
func extract(t *testing.T, raw string, number int, path string) {
	t.Helper()
	var first, last int64
	for _, line := range strings.Split(must(t, "sgdisk", "-i", fmt.Sprint(number), raw), "\n") {
		fmt.Sscanf(line, "First sector: %d", &first)
		fmt.Sscanf(line, "Last sector: %d", &last)
	}
	must(t, "dd", "if="+raw, "of="+path, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", first*512), fmt.Sprintf("count=%d", (last+1-first)*512))
}

// checkManifest holds an OVF manifest against the files beside it (DSP0243, section 5.1).
func checkManifest(t *testing.T, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		name, sum, ok := strings.Cut(strings.TrimPrefix(s.Text(), "SHA256("), ")= ")
		if got := fileSum(t, filepath.Join(filepath.Dir(path), filepath.Base(name))); !ok || got != sum {
			t.Errorf("manifest line %q: the file has %s", s.Text(), got)
		}
	}
}

func fileSum(t *testing.T, path string) string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sameBytes bakes the same lock again as an ordinary user, without a network, with another folder, umask, time zone,
// cache and number of workers, and compares every byte.
func (h *host) sameBytes(t *testing.T, recipe string, want *bake.Report) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root to become another user")
	}
	const user = "agibake-test"
	if exec.Command("id", user).Run() != nil {
		must(t, "useradd", "--create-home", "--shell", "/bin/sh", user)
		defer exec.Command("userdel", "-r", user).Run()
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(h.dir, "other place")
	must(t, "mkdir", "-p", other+"/cache/agibake")
	for _, part := range []string{"blobs", "lists", "refs", "memo"} {
		must(t, "cp", "-a", "--reflink=auto", filepath.Join(cache, "agibake", part), other+"/cache/agibake/")
	}
	must(t, "cp", "-r", filepath.Dir(recipe), other+"/src") // the lock among it
	must(t, "chown", "-R", user, other)
	script := fmt.Sprintf("umask 077; cd %q; TZ=Asia/Tokyo XDG_CACHE_HOME=%q HOME=/home/%s exec %q bake src/mind.yaml -o out --offline --json -j 1 --format raw,qcow2,vmdk,ova",
		other, other+"/cache", user, h.bin)
	out, _ := h.exec(0, exec.Command("unshare", "--net", "setpriv", "--reuid="+user, "--regid="+user, "--init-groups", "sh", "-c", script))
	var got bake.Report
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.LockDigest != want.LockDigest {
		t.Errorf("the lock became %s, want %s", got.LockDigest, want.LockDigest)
	}
	if strings.Join(got.Layers, " ") != strings.Join(want.Layers, " ") || got.Rootfs != want.Rootfs {
		t.Errorf("layers %q, image %s; want %q, %s", got.Layers, got.Rootfs, want.Layers, want.Rootfs)
	}
	for i, o := range got.Outputs {
		if o.SHA256 != want.Outputs[i].SHA256 {
			t.Errorf("%s: %s, want %s", o.File, o.SHA256, want.Outputs[i].SHA256)
		}
	}
	if got.Index == "" || got.Index != want.Index {
		t.Errorf("the appliance is %s, want %s", got.Index, want.Index)
	}
	// index.json names the appliance, its rootfs, its SBOM and its provenance.
	if diff := cmp.Diff(readString(t, h.dir+"/out/mind-1.0.0/oci/index.json"), readString(t, other+"/out/mind-1.0.0/oci/index.json")); diff != "" {
		t.Errorf("index.json differs:\n%s", diff)
	}
	os.RemoveAll(other)
}

func readString(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
