package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/wire"
)

func put(t testing.TB, name, data string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644)); err != nil {
		t.Fatal(err)
	}
}

const status = `Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.1-6ubuntu1
Description: shell
 Status: not a field
Conffiles:
 /etc/bash.bashrc 0123

Package: gone
Status: deinstall ok config-files
Version: 1

Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2
`

// disk makes a small appliance's disk with sgdisk, mkfs.fat and mkfs.ext4.
func disk(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	raw, system, state := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "system"), filepath.Join(dir, "state")
	put(t, filepath.Join(system, "usr/lib/os-release"), "NAME=Ubuntu\nPRETTY_NAME=\"Ubuntu 22.04 \x1b[31m\"\nVERSION_ID='22.04'\n# no\n")
	put(t, filepath.Join(system, "etc/hostname"), "saiga\n")
	put(t, filepath.Join(system, "etc/machine-id"), "")
	put(t, filepath.Join(system, "boot/vmlinuz-5.15.0-1-generic"), "x")
	put(t, filepath.Join(system, "var/lib/dpkg/status"), status)
	config, err := json.Marshal(wire.Config{Name: "saiga", Version: "1.0", LockDigest: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(system, wire.ConfigPath), string(config))
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(system, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(state, "models/saiga.gguf"), strings.Repeat("w", 5000))
	put(t, raw, "")
	if err := os.Truncate(raw, 48<<20); err != nil {
		t.Fatal(err)
	}
	referee.Run(t, "sgdisk", "-U", "11111111-2222-4333-8444-555555555555", "-n", "1:2048:10239", "-t", "1:ef00", "-c", "1:esp",
		"-n", "2:10240:51199", "-t", "2:8300", "-c", "2:system", "-n", "3:51200:96255", "-t", "3:8300", "-c", "3:state", raw)
	referee.Run(t, "mkfs.fat", "--offset", "2048", "-F", "12", "-n", "ESP", "-i", "1234ABCD", raw, "4096")
	referee.Run(t, "mkfs.ext4", "-q", "-L", wire.SystemLabel, "-d", system, "-E", "offset=5242880", raw, "20M")
	referee.Run(t, "mkfs.ext4", "-q", "-L", wire.StateLabel, "-d", state, "-E", "offset=26214400", raw, "22M")
	return raw
}

// encode writes a disk in every format beside it.
func encode(t testing.TB, raw string) map[string]string {
	t.Helper()
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var outs []format.Output
	paths := map[string]string{}
	for _, k := range format.Kinds {
		paths[string(k)] = filepath.Join(filepath.Dir(raw), "saiga-1.0."+string(k))
		outs = append(outs, format.Output{Format: k, Path: paths[string(k)]})
	}
	_, err = format.Encode(context.Background(), f, outs, format.Options{OVA: ova.Spec{Name: "saiga", Version: "1.0", CPUs: 1, MemoryMiB: 512}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func file(t testing.TB, path string) *Report {
	t.Helper()
	r, err := File(context.Background(), path, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryFormatTellsTheSame(t *testing.T) {
	raw := disk(t)
	paths := encode(t, raw)
	paths["qcow2 v2"] = filepath.Join(t.TempDir(), "v2")
	referee.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compat=0.10", raw, paths["qcow2 v2"])
	paths["vmdk sparse"] = filepath.Join(t.TempDir(), "sparse")
	referee.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, paths["vmdk sparse"])
	for kind, path := range paths {
		r := file(t, path)
		if len(r.Problems) > 0 {
			t.Errorf("%s: problems %v", kind, r.Problems)
		}
		if want, _, _ := strings.Cut(kind, " "); r.Format != want || r.VirtualSize != 48<<20 || r.Table != "gpt" {
			t.Errorf("%s: %s, %d bytes, %s", kind, r.Format, r.VirtualSize, r.Table)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if r.SHA256 != fmt.Sprintf("%x", sha256.Sum256(b)) {
			t.Errorf("%s: digest", kind)
		}
		checkDisk(t, kind, r)
	}
	if a := file(t, paths["ova"]).Appliance; a.Manifest != "holds" || len(a.Findings) != 0 || a.Envelope.System.Name != "saiga" {
		t.Errorf("OVF facts %+v", a)
	}
}

func checkDisk(t *testing.T, kind string, r *Report) {
	t.Helper()
	if r.DiskID != "11111111-2222-4333-8444-555555555555" {
		t.Errorf("%s: disk %s", kind, r.DiskID)
	}
	var got []string
	for _, p := range r.Partitions {
		got = append(got, fmt.Sprintf("%d %s %s %d+%d %s %s", p.Number, p.Name, p.Type, p.Start>>20, p.Size>>20, p.FileSystem.Type, p.FileSystem.Label))
	}
	want := "1 esp EFI system 1+4 FAT12 ESP; 2 system Linux 5+20 ext4 agi-system; 3 state Linux 25+22 ext4 agi-state"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("%s: partitions\n%s, want\n%s", kind, s, want)
	}
	if id := r.Partitions[0].FileSystem.UUID; id != "1234-ABCD" {
		t.Errorf("%s: FAT id %s", kind, id)
	}
	s := r.System
	if s == nil || s.OS["VERSION_ID"] != "22.04" || s.Hostname != "saiga" || s.MachineID != "" || strings.Join(s.Kernels, " ") != "5.15.0-1-generic" || s.Agent == nil || s.Agent.LockDigest != "abc" {
		t.Fatalf("%s: system %+v", kind, s)
	}
	if want := []Package{{"bash", "5.1-6ubuntu1", "amd64"}, {"zlib1g", "1:1.2", "amd64"}}; fmt.Sprint(s.Packages) != fmt.Sprint(want) {
		t.Errorf("%s: packages %v", kind, s.Packages)
	}
	if fmt.Sprint(r.Models) != "[{models/saiga.gguf 5000}]" {
		t.Errorf("%s: models %v", kind, r.Models)
	}
}

func TestDamagedTableFallsBackToItsCopy(t *testing.T) {
	raw := disk(t)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	b[sector+60] ^= 1
	put(t, raw, string(b))
	r := file(t, raw)
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "checksum") {
		t.Errorf("problems %v", r.Problems)
	}
	checkDisk(t, "copy", r)
}

func TestTamperedOVA(t *testing.T) {
	path := encode(t, disk(t))["ova"]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, strings.Replace(string(b), "ubuntu64Guest", "debian64Guest", 1))
	r, err := File(context.Background(), path, Options{}, nil)
	if fault.KindOf(err) != fault.Untrusted || r == nil || !strings.Contains(r.Appliance.Manifest, "digest") {
		t.Errorf("%v", err)
	}
}

func TestNoImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for name, data := range map[string]string{"empty": "", "text": strings.Repeat("no image\n", 1000), "short": "QFI\xfb\x00\x00\x00\x03", "tar": "x.ovf"} {
		put(t, path, data)
		if _, err := File(context.Background(), path, Options{}, nil); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := File(context.Background(), path+"/no", Options{}, nil); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
}

func TestFileSystemWithoutTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fs")
	referee.Run(t, "mkfs.ext4", "-q", "-L", "alone", path, "8M")
	r := file(t, path)
	if r.Table != "none" || len(r.Partitions) != 1 || r.Partitions[0].FileSystem.Label != "alone" {
		t.Errorf("%+v", r)
	}
}

func TestFolder(t *testing.T) {
	raw := disk(t)
	path := encode(t, raw)["qcow2"]
	dir := filepath.Join(t.TempDir(), "saiga-1.0")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sums := fmt.Sprintf("%x  saiga-1.0.qcow2\n", sha256.Sum256(b))
	put(t, filepath.Join(dir, "saiga-1.0.qcow2"), string(b))
	put(t, filepath.Join(dir, "SHA256SUMS"), sums)
	put(t, filepath.Join(dir, "bake.json"), `{"name":"saiga","version":"1.0","lockDigest":"abc","seconds":3}`)
	d, err := Dir(context.Background(), dir, Options{}, nil)
	if err != nil || d.Bake.Name != "saiga" || len(d.Files) != 1 || d.Files[0].State != "holds" {
		t.Fatalf("%+v, %v", d, err)
	}
	checkDisk(t, "folder", d.Image)

	put(t, filepath.Join(dir, "saiga-1.0.qcow2"), string(append(bytes.Clone(b), 0)))
	d, err = Dir(context.Background(), dir, Options{}, nil)
	if fault.KindOf(err) != fault.Untrusted || d.Files[0].State != "differs" {
		t.Errorf("tampered: %+v, %v", d, err)
	}
	os.Remove(filepath.Join(dir, "saiga-1.0.qcow2"))
	d, err = Dir(context.Background(), dir, Options{}, nil)
	if fault.KindOf(err) != fault.Untrusted || d.Files[0].State != "missing" {
		t.Errorf("missing: %+v, %v", d, err)
	}
	put(t, filepath.Join(dir, "SHA256SUMS"), strings.Replace(sums, "saiga", "../saiga", 1))
	if _, err = Dir(context.Background(), dir, Options{}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("path outside: %v", err)
	}
	if _, err = Dir(context.Background(), t.TempDir(), Options{}, nil); fault.KindOf(err) != fault.Input {
		t.Errorf("no bake: %v", err)
	}
}

func FuzzLook(f *testing.F) {
	raw, err := os.ReadFile(disk(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(512+80), []byte{255, 255, 255})
	f.Add(uint32(446), []byte{0x80, 0, 0, 0, 0x83})
	f.Add(uint32(1024), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		b := bytes.Clone(raw)
		copy(b[int(at)%len(b):], change)
		r := &Report{}
		r.look(bytes.NewReader(b))
	})
}
