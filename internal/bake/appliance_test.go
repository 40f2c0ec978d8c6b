package bake

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/provenance"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/sbom"
	"github.com/agibake/agibake/internal/tree"
)

// small is a lock whose local sources lie in dir.
func small(dir string) *lock.Lock {
	return &lock.Lock{
		APIVersion: lock.APIVersion, Epoch: 1700000000,
		Recipe: recipe.Recipe{APIVersion: recipe.APIVersion, Kind: recipe.Kind, Name: "saiga", Version: "1.0.0",
			Models: []recipe.Model{{Name: "m", File: "m.gguf", Source: "file:" + dir + "/m.gguf"}}, Sign: &recipe.Sign{Key: dir + "/cosign.key"}},
		System: lock.Packages{Distribution: "ubuntu", Release: "jammy", Packages: []lock.Package{{Name: "aa", Version: "1", Architecture: "amd64", URL: "http://archive.example/aa.deb", SHA256: strings.Repeat("ab", 32)}}},
		Models: []lock.File{{Name: "m", Path: "m.gguf", Source: "file:" + dir + "/m.gguf", Size: 1, SHA256: strings.Repeat("cd", 32)}},
	}
}

func file(t *testing.T, tr *tree.Tree, name, content string) {
	t.Helper()
	if err := tr.WriteFile(name, []byte(content), 0o644, 1700000000); err != nil {
		t.Fatal(err)
	}
}

// assemble runs the last stages of a bake in a folder of its own, with a base, containers and configuration of a few
// bytes and disks cut after 100 bytes, and returns the baked folder.
func assemble(t *testing.T, jobs int, motd string) (string, *baker, *Report) {
	t.Helper()
	dir := t.TempDir()
	store, err := cas.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &baker{Options: Options{Jobs: jobs, Version: "1.2.3", Formats: []string{"qcow2", "raw"}, Compression: "zstd"}, store: store, self: "self", agid: self,
		programs: []provenance.Program{{Name: "agibake", SHA256: strings.Repeat("01", 32)}, {Name: "agid", SHA256: strings.Repeat("02", 32)}}}
	out, err := openOutput(filepath.Join(dir, "out"), "saiga-1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	system := tree.New()
	file(t, system, "var/lib/dpkg/status", "Package: aa\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n")
	file(t, system, "usr/share/doc/aa/copyright", "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: Expat\n")
	file(t, system, "usr/lib/large", strings.Repeat("0123456789", 400000))
	base := &rootfsLayer{path: filepath.Join(dir, "base.tar"), key: "base"}
	f, err := os.Create(base.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if base.diffID, err = layer.Write(t.Context(), f, system); err != nil {
		t.Fatal(err)
	}
	if base.Layer, err = layer.Open(base.path); err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	containers, configuration := tree.New(), tree.New()
	file(t, containers, "var/lib/containerd/x", "image")
	file(t, configuration, "etc/motd", motd)
	layers, err := b.layers(t.Context(), small(dir), out, base, []upper{{"containers", containers, "key of containers"}, {"configuration", configuration, ""}})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := b.facts(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	l := small(dir)
	if l.Models[0].SHA256, l.Models[0].Size, err = store.Put(t.Context(), strings.NewReader("m"), "", -1, nil); err != nil {
		t.Fatal(err)
	}
	r := &Report{Name: "saiga", Version: "1.0.0", LockDigest: lock.Digest(l), Key: "key", Machine: Machine{CPUs: 1, Firmware: []string{"bios"}}}
	for _, kind := range b.Formats {
		name := "saiga-1.0.0." + kind
		data := []byte(strings.Repeat(kind, 40))
		path := filepath.Join(out.dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		sums, err := artifact.SumFile(t.Context(), bytes.NewReader(data), 150)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := os.Stat(path)
		r.Outputs = append(r.Outputs, Output{Format: kind, File: name, Size: sums.Size, SHA256: sums.SHA256, ModTime: info.ModTime().UnixNano(), sums: sums})
	}
	if err := b.appliance(t.Context(), l, out, r, layers, contents{system: facts}); err != nil {
		t.Fatal(err)
	}
	if err := out.publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return out.final, b, r
}

// blobs are the digests in the layout of a baked folder.
func blobs(t *testing.T, dir string) []string {
	t.Helper()
	return strings.Fields(names(t, filepath.Join(dir, "oci", "blobs", "sha256")))
}

// TestApplianceIsReproducible bakes the same lock in two folders, with another umask and number of jobs.
func TestApplianceIsReproducible(t *testing.T) {
	first, _, r := assemble(t, 1, "hello")
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	second, _, r2 := assemble(t, 5, "hello")
	if r.Index != r2.Index || r.Rootfs != r2.Rootfs {
		t.Errorf("%s and %s", r.Index, r2.Index)
	}
	if diff := cmp.Diff(blobs(t, first), blobs(t, second)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"oci/index.json", "oci/oci-layout", "SHA256SUMS"} {
		a, _ := os.ReadFile(filepath.Join(first, name))
		b, _ := os.ReadFile(filepath.Join(second, name))
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s differs", name)
		}
	}
	for _, blob := range blobs(t, first) {
		data, err := os.ReadFile(filepath.Join(first, "oci", "blobs", "sha256", blob))
		if err != nil || digest.FromBytes(data).Encoded() != blob {
			t.Errorf("blob %s, %v", blob, err)
		}
		if bytes.Contains(data, []byte(filepath.Dir(filepath.Dir(first)))) {
			t.Errorf("blob %s tells of the folder:\n%.2000s", blob, data)
		}
	}
}

// TestApplianceHolds reads a baked folder back: appliance, SBOM and provenance.
func TestApplianceHolds(t *testing.T) {
	dir, _, r := assemble(t, 2, "hello")
	l, a, err := artifact.OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Index.Digest) != r.Index || len(a.RootfsLayers) != 3 || len(a.Disks) != 2 || len(a.Disks[0].Parts) != 2 || len(a.Disks[1].Parts) != 1 {
		t.Errorf("%+v", a)
	}
	raw, err := artifact.ReadBlob(t.Context(), l, a.Lock, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := lock.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if lock.Digest(inside) != r.LockDigest || digest.FromBytes(raw).Encoded() != r.LockDigest {
		t.Errorf("the lock inside has digest %s, the bake's %s: %v", lock.Digest(inside), r.LockDigest, err)
	}
	bill, err := sbom.Read(t.Context(), l, a.Index.Digest)
	if err != nil || !strings.Contains(string(bill), `"licenseDeclared":"MIT"`) {
		t.Errorf("%s, %v", bill, err)
	}
	statement, err := provenance.Read(t.Context(), l, a.Index.Digest)
	var s provenance.Statement
	if err == nil {
		err = json.Unmarshal(statement, &s)
	}
	if err != nil || len(s.Subject) != 4 || s.Subject[0].Digest["sha256"] != a.Index.Digest.Encoded() {
		t.Errorf("%s, %v", statement, err)
	}
	if !r.stands(t.Context(), dir) {
		t.Error("what was just baked does not stand")
	}
	path, _ := l.Path(a.RootfsLayers[0].Digest)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if r.stands(t.Context(), dir) {
		t.Error("it stands without a layer")
	}
}

// TestOneChangedFile keeps every layer but the last.
func TestOneChangedFile(t *testing.T) {
	first, b, _ := assemble(t, 2, "hello")
	second, _, _ := assemble(t, 2, "other")
	_, a1, err := artifact.OpenFolder(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	_, a2, err := artifact.OpenFolder(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a1.RootfsLayers {
		if same := a1.RootfsLayers[i].Digest == a2.RootfsLayers[i].Digest; same != (i < 2) {
			t.Errorf("layer %d is the same: %v", i, same)
		}
	}
	// What was compressed once is not compressed again.
	base := &rootfsLayer{path: "/nowhere", diffID: "", key: "base"}
	for _, s := range b.stages {
		if s.Name == "layers" && s.Cached {
			t.Error("the first bake took its layers from a cache")
		}
	}
	entries, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(first)), "cache", "stages", "packed"))
	folders := 0
	for _, e := range entries {
		if e.IsDir() {
			folders++
		}
	}
	if folders != 2 {
		t.Errorf("%d layers cached, want base and containers", folders)
	}
	if _, _, err := b.packLower(t.Context(), small(filepath.Dir(first)), base); err == nil {
		t.Error("an unknown base was packed from nowhere")
	}
}

// TestCompare bakes the same lock twice, once with another file in the configuration: the comparison names it.
func TestCompare(t *testing.T) {
	open := func(dir string) side {
		l, a, err := artifact.OpenFolder(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return side{l, a}
	}
	first, _, _ := assemble(t, 2, "hello")
	same, _, _ := assemble(t, 2, "hello")
	other, _, _ := assemble(t, 2, "goodbye")
	var c Comparison
	if err := c.compare(t.Context(), open(first), open(same)); err != nil || len(c.Differences) != 1 || c.Differences[0].Part != "index" {
		t.Errorf("equal ones: %+v, %v", c, err) // Rebuild does not compare those
	}
	c = Comparison{}
	if err := c.compare(t.Context(), open(first), open(other)); err != nil {
		t.Fatal(err)
	}
	want := []Difference{{"layer 3 (configuration)", "etc/motd", "other content"}}
	if diff := cmp.Diff(want, c.Differences); diff != "" {
		t.Error(diff)
	}
	partial := open(first)
	for _, l := range partial.a.RootfsLayers {
		if err := os.Remove(filepath.Join(first, "oci", "blobs", "sha256", l.Digest.Encoded())); err != nil {
			t.Fatal(err)
		}
	}
	c = Comparison{}
	if err := c.compare(t.Context(), partial, open(other)); err != nil || len(c.Differences) != 1 || !strings.Contains(c.Differences[0].Detail, "not here") {
		t.Errorf("without its layers: %+v, %v", c, err)
	}
}

// TestReadLock takes the lock out of an appliance as it went in.
func TestReadLock(t *testing.T) {
	dir, _, r := assemble(t, 1, "hello")
	l, a, err := artifact.OpenFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadLock(t.Context(), l, a)
	if err != nil || lock.Digest(got) != r.LockDigest || got.Recipe.Name != "saiga" {
		t.Errorf("%+v, %v", got, err)
	}
	a.Name = "other"
	if _, err := ReadLock(t.Context(), l, a); fault.KindOf(err) != fault.Untrusted {
		t.Errorf("the lock of another appliance: %v", err)
	}
}

func TestApart(t *testing.T) {
	all := tree.New()
	for _, dir := range []string{"usr", "usr/lib"} {
		if err := all.Put(tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o750}); err != nil {
			t.Fatal(err)
		}
	}
	file(t, all, "usr/lib/agid", "program")
	file(t, all, "usr/lib/other", "text")
	own, rest, err := apart(all, "usr/lib/agid")
	if err != nil || own.Len() != 4 || own.Lookup("usr/lib").Mode != 0o750 || own.Lookup("usr/lib/agid") == nil {
		t.Errorf("%d entries, %v", own.Len(), err)
	}
	if rest.Len() != 4 || rest.Lookup("usr/lib/other") == nil || all.Len() != 5 {
		t.Errorf("%d of %d entries are left", rest.Len(), all.Len())
	}
}

// TestGPUStack splits a system: what NVIDIA's packages brought and built goes into the layer above, and both laid over
// each other are the system again.
func TestGPUStack(t *testing.T) {
	all := tree.New()
	info := "var/lib/dpkg/info/"
	if err := all.Symlink("usr/lib", "lib", 0); err != nil {
		t.Fatal(err)
	}
	modules := "usr/lib/modules/5.15.0-1-generic/kernel/"
	for name, text := range map[string]string{
		"usr/bin/nvidia-smi": "x", "usr/lib/x86_64-linux-gnu/libcuda.so.1": "x", "usr/lib/other.so": "x", "usr/bin/shared": "x", "etc/nvidia.conf": "kept",
		modules + "nvidia-580/nvidia.ko": "x", modules + "net/veth.ko": "x",
		info + "nvidia-utils-580.list": "/.\n/usr\n/usr/bin\n/usr/bin/nvidia-smi\n", info + "nvidia-utils-580.md5sums": "",
		info + "libnvidia-compute-580:amd64.list": "/lib/x86_64-linux-gnu/libcuda.so.1\n/usr/bin/shared\n", info + "bash.list": "/bin/bash\n",
	} {
		file(t, all, name, text)
	}
	if err := all.Put(tree.Entry{Path: "usr/bin/same", Type: tree.Hardlink, Link: "usr/bin/shared"}); err != nil {
		t.Fatal(err)
	}
	set := &lock.Packages{Packages: []lock.Package{{Name: "bash", Architecture: "amd64"}, {Name: "libnvidia-compute-580", Architecture: "amd64"}, {Name: "nvidia-utils-580", Architecture: "amd64"}}}
	gpu, rest, err := gpuStack(all, set)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range gpu.Entries() {
		if e.Type != tree.Dir {
			files = append(files, e.Path)
		}
	}
	want := []string{"usr/bin/nvidia-smi", modules + "nvidia-580/nvidia.ko", "usr/lib/x86_64-linux-gnu/libcuda.so.1",
		info + "libnvidia-compute-580:amd64.list", info + "nvidia-utils-580.list", info + "nvidia-utils-580.md5sums"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	again, err := merge(rest, gpu)
	if err != nil || again.Len() != all.Len() || rest.Lookup("usr/bin/nvidia-smi") != nil || rest.Lookup("etc/nvidia.conf") == nil {
		t.Errorf("%d of %d entries, %v", again.Len(), all.Len(), err)
	}
	if _, _, err := gpuStack(all, &lock.Packages{Packages: []lock.Package{{Name: "nvidia-kernel-common-580", Architecture: "amd64"}}}); err == nil {
		t.Error("a package that is not installed was taken")
	}
}
