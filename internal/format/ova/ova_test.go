package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/format/vmdk"
)

var spec = Spec{Name: "saiga", Version: "1.0.0", Description: "thinks <&> answers", CPUs: 4, MemoryMiB: 16384, DiskCapacity: 3 << 20, UEFI: true, SecureBoot: true, ModTime: 1700000000}

// build writes an OVA with a small disk.
func build(t testing.TB, s Spec) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "x.ova"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := NewWriter(f, s)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	disk, err := vmdk.NewWriter(io.MultiWriter(w, h), s.DiskCapacity, 7)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vmdk.NewCompressor(0)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := c.Compress(nil, bytes.Repeat([]byte("grain"), vmdk.GrainSize/5+1)[:vmdk.GrainSize])
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Write(3, packed); err != nil {
		t.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	size, err := w.Close([sha256.Size]byte(h.Sum(nil)), disk.Populated())
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := f.Stat(); info.Size() != size {
		t.Errorf("size %d, file %d", size, info.Size())
	}
	return f
}

func open(t testing.TB, f *os.File) *Archive {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOursPassesTheChecks(t *testing.T) {
	for _, s := range []Spec{spec, {Name: "a", Version: "0", CPUs: 1, MemoryMiB: 1, DiskCapacity: 1 << 20}} {
		a := open(t, build(t, s))
		for _, f := range Check(a) {
			t.Errorf("%s: %+v", s.Name, f)
		}
		if err := a.Verify(context.Background()); err != nil {
			t.Error(err)
		}
		if got := a.Envelope.Disks[0].Capacity << 20; got != s.DiskCapacity {
			t.Errorf("capacity %d", got)
		}
	}
}

func TestForeignTarReadsIt(t *testing.T) {
	f := build(t, spec)
	out, err := exec.Command("tar", "--numeric-owner", "-tvf", f.Name()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "-rw-r--r-- 0/0 ") {
			t.Errorf("line %s", line)
		}
		names = append(names, line[strings.LastIndexByte(line, ' ')+1:len(line)-1])
	}
	if got, want := strings.Join(names, " "), "saiga-1.0.0.ovf saiga-1.0.0.mf saiga-1.0.0-disk1.vmdk"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
}

func TestManifestIsWhatSha256sumSays(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", build(t, spec).Name(), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mf, err := os.ReadFile(filepath.Join(dir, "saiga-1.0.0.mf"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, name := range []string{"saiga-1.0.0.ovf", "saiga-1.0.0-disk1.vmdk"} {
		out, err := exec.Command("sha256sum", filepath.Join(dir, name)).Output()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "SHA256(%s)= %.64s\n", name, out)
	}
	if string(mf) != want.String() {
		t.Errorf("manifest\n%s\nwant\n%s", mf, want.String())
	}
}

// TestDiskOf8GiB: from there on a size does not fit USTAR, and PAX is not read by VMware and VirtualBox.
func TestDiskOf8GiB(t *testing.T) {
	for _, size := range []int64{8<<30 - 512, 8 << 30, 100 << 30} {
		f, err := os.Create(filepath.Join(t.TempDir(), "x.ova"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w, err := NewWriter(f, spec)
		if err != nil {
			t.Fatal(err)
		}
		w.size = size // a hole
		total, err := w.Close([32]byte{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		a, err := Open(f, total)
		if err != nil {
			t.Fatal(err)
		}
		m := a.Members[2]
		want := tar.FormatUSTAR
		if size >= 8<<30 {
			want = tar.FormatGNU
		}
		if m.Format != want || m.Size != size {
			t.Errorf("%d bytes: %+v", size, m)
		}
		out, err := exec.Command("tar", "-tvf", f.Name()).CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprint(size)) {
			t.Errorf("tar: %v\n%s", err, out)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"no name":      func(s *Spec) { s.Name = "" },
		"slash":        func(s *Spec) { s.Name = "a/b" },
		"blank":        func(s *Spec) { s.Version = "1 0" },
		"too long":     func(s *Spec) { s.Name, s.Version = strings.Repeat("n", 60), strings.Repeat("v", 60) },
		"no CPU":       func(s *Spec) { s.CPUs = 0 },
		"no memory":    func(s *Spec) { s.MemoryMiB = 0 },
		"half a MiB":   func(s *Spec) { s.DiskCapacity = 1<<20 + 512 },
		"no disk":      func(s *Spec) { s.DiskCapacity = 0 },
		"negative":     func(s *Spec) { s.DiskCapacity = -1 << 20 },
		"leading dash": func(s *Spec) { s.Name = "-n" },
	} {
		s := spec
		change(&s)
		if _, err := NewWriter(nil, s); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestChecksFind breaks one thing at a time and expects the rule for it to notice.
func TestChecksFind(t *testing.T) {
	for want, change := range map[string][2]string{
		"memory":          {`<rasd:AllocationUnits>byte * 2^20`, `<rasd:AllocationUnits>MegaBytes`},
		"disk-units":      {`capacityAllocationUnits="byte * 2^20"`, `capacityAllocationUnits="byte"`},
		"disk-on-sata":    {"vmware.sata.ahci", "lsilogicsas"},
		"host-resource":   {"ovf:/disk/vmdisk1", "/disk/vmdisk1"},
		"network":         {">E1000<", ">virtio<"},
		"unknown-items":   {"<rasd:ResourceType>10<", "<rasd:ResourceType>24<"},
		"optional-config": {`ovf:required="false" vmw:key`, `vmw:key`},
		"os-type":         {`vmw:osType="ubuntu64Guest"`, ""},
		"system-type":     {"vmx-15", "virtualbox-2.2"},
		"prefixes":        {"xmlns:vmw=", "xmlns:other="},
		"ovf-1":           {`xmlns="http://schemas.dmtf.org/ovf/envelope/1"`, `xmlns="http://schemas.dmtf.org/ovf/envelope/2"`},
		"boot-order":      {"</VirtualSystem>", "<vmw:BootOrderSection/></VirtualSystem>"},
		"vbox-machine":    {"</VirtualSystem>", "<vbox:Machine/></VirtualSystem>"},
		"disk-image":      {`ovf:capacity="3"`, `ovf:capacity="4"`},
	} {
		a := open(t, build(t, spec))
		if !bytes.Contains(a.Descriptor, []byte(change[0])) {
			t.Errorf("%s: the descriptor lacks %q", want, change[0])
			continue
		}
		changed := rewrite(t, a, func(h *tar.Header, b []byte) []byte {
			if strings.HasSuffix(h.Name, ".ovf") {
				return bytes.ReplaceAll(b, []byte(change[0]), []byte(change[1]))
			}
			return b
		})
		expect(t, want, Check(changed))
		if changed.Verify(context.Background()) == nil {
			t.Errorf("%s: the manifest still holds", want)
		}
	}
	for want, change := range map[string]func(h *tar.Header, b []byte) []byte{
		"tar-form": func(h *tar.Header, b []byte) []byte {
			h.Format = tar.FormatPAX
			h.PAXRecords = map[string]string{"a.b": "c"}
			return b
		},
		"order":      func(h *tar.Header, b []byte) []byte { h.Name = strings.Replace(h.Name, ".mf", ".cert", 1); return b },
		"manifest":   func(h *tar.Header, b []byte) []byte { return bytes.ReplaceAll(b, []byte(")= "), []byte(") = ")) },
		"disk-image": func(h *tar.Header, b []byte) []byte { return append(b, make([]byte, len(b)%1024)...) },
	} {
		expect(t, want, Check(rewrite(t, open(t, build(t, spec)), change)))
	}
}

func expect(t *testing.T, want string, found []Finding) {
	t.Helper()
	for _, f := range found {
		if f.Rule == want && len(f.Hosts) > 0 && f.Text != "" {
			return
		}
	}
	t.Errorf("no finding %q in %+v", want, found)
}

// rewrite copies an archive with every member changed.
func rewrite(t *testing.T, a *Archive, change func(*tar.Header, []byte) []byte) *Archive {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range a.Members {
		data, err := io.ReadAll(a.Section(&m))
		if err != nil {
			t.Fatal(err)
		}
		h := &tar.Header{Name: m.Name, Mode: m.Mode, Typeflag: tar.TypeReg, Format: m.Format}
		data = change(h, data)
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	w.Close()
	changed, err := Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func FuzzOpen(f *testing.F) {
	b, err := os.ReadFile(build(f, spec).Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:3000])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if a != nil {
				t.Error("a failed Open returned something")
			}
			return
		}
		Check(a)
		a.Verify(context.Background())
	})
}
