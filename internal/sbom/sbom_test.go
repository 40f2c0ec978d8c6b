package sbom

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	spdx "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
)

var hex = strings.Repeat("ab", 32)

func sampleLock() *lock.Lock {
	deb := func(name, version string) lock.Package {
		return lock.Package{Name: name, Version: version, Architecture: "amd64", URL: "http://archive.ubuntu.com/ubuntu/pool/" + name + ".deb", Size: 9, SHA256: hex}
	}
	return &lock.Lock{
		Epoch:  1700000000,
		Recipe: recipe.Recipe{Name: "saiga", Version: "1.0.0"},
		System: lock.Packages{Distribution: "ubuntu", Release: "jammy", Packages: []lock.Package{deb("libstdc++6", "12.3.0-1ubuntu1~22.04"), deb("vim", "2:8.2"), deb("gone", "1")}},
		Containers: []lock.Container{
			{Name: "model", Reference: "localhost/model", Packages: &lock.Packages{Distribution: "debian", Release: "testing", Packages: []lock.Package{deb("vim", "2:9")}}},
			{Name: "web", Reference: "ghcr.io/org/Web:1@sha256:" + hex, Source: "registry:ghcr.io/org/web", Manifest: &lock.Blob{Digest: "sha256:" + hex}},
			{Name: "saved", Reference: "sample.example/org/saved:1.0", Source: "archive:/home/person/saved.tar"},
		},
		Models: []lock.File{
			{Name: "greeter", Path: "greeter.gguf", Source: "file:/home/person/secret/greeter.gguf", Size: 5, SHA256: hex},
			{Name: "big", Path: "big.gguf", Source: "https://huggingface.co/org/repo/resolve/" + strings.Repeat("c", 40) + "/big.gguf?token=secret", SHA256: hex},
			{Name: "other", Path: "other.gguf", Source: "https://user:secret@example.org/other.gguf", SHA256: hex},
		},
		Files: []lock.File{{Path: "/etc/thing", Source: "/home/person/thing", Size: 3, SHA256: hex}},
	}
}

const status = `Package: libstdc++6
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.3.0-1)
Version: 12.3.0-1ubuntu1~22.04
Maintainer: Ubuntu Core developers <ubuntu-devel-discuss@lists.ubuntu.com>
Original-Maintainer: Jane Doe <jane@example.org>
Homepage: http://gcc.gnu.org/

Package: vim
Status: install ok installed
Architecture: amd64
Version: 2:8.2
Maintainer: nobody
Homepage: javascript:alert(1)

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
`

func sampleTree(t *testing.T) *tree.Tree {
	tr := tree.New()
	for name, content := range map[string]string{"var/lib/dpkg/status": status, "usr/share/doc/libstdc++6/copyright": head + "Files: *\nLicense: GPL-3+ with GCC exception\n text\n",
		"usr/share/doc/vim-common/copyright": head + "Files: *\nLicense: Expat\n"} {
		if err := tr.WriteFile(name, []byte(content), 0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Symlink("vim-common", "usr/share/doc/vim", 0); err != nil {
		t.Fatal(err)
	}
	return tr
}

func sampleInput(t *testing.T) Input {
	system, err := ReadTree(t.Context(), sampleTree(t))
	if err != nil {
		t.Fatal(err)
	}
	return Input{Lock: sampleLock(), LockDigest: hex, Index: digest.FromString("index"), Tool: "1.2.3", System: system,
		Containers: []Container{{Digest: digest.FromString("model")}, {Digest: digest.Digest("sha256:" + hex)}, {Digest: digest.FromString("saved")}},
		Agent:      Program{SHA256: hex, Modules: []Module{{"golang.org/x/sys", "v0.1.0"}}}}
}

// TestBuild lets the SPDX project's own library read the document, and looks at what it holds.
func TestBuild(t *testing.T) {
	data, err := Build(sampleInput(t))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Build(sampleInput(t)); !bytes.Equal(data, again) {
		t.Error("the same input gives other bytes")
	}
	for _, leak := range []string{"/home/person", "secret"} {
		if bytes.Contains(data, []byte(leak)) {
			t.Errorf("the document tells of %s", leak)
		}
	}
	var doc v2_3.Document
	if err := spdx.ReadInto(bytes.NewReader(data), &doc); err != nil {
		t.Fatal(err)
	}
	read, err := spdx.Read(bytes.NewReader(data))
	if err == nil {
		err = spdxlib.ValidateDocument(read)
	}
	if err != nil {
		t.Error(err)
	}
	if ids, err := spdxlib.GetDescribedPackageIDs(read); err != nil || len(ids) != 1 || ids[0] != "appliance" {
		t.Errorf("described: %v, %v", ids, err)
	}
	roundTrip(t, data, &doc)
	got := map[string]string{}
	for _, p := range doc.Packages {
		if len(p.PackageExternalReferences) > 0 {
			got[string(p.PackageSPDXIdentifier)] = p.PackageExternalReferences[0].Locator
		}
		if p.PackageLicenseDeclared != none && !grammar(p.PackageLicenseDeclared) {
			t.Errorf("licence %q", p.PackageLicenseDeclared)
		}
	}
	want := map[string]string{
		"appliance":           "pkg:oci/saiga@" + string(digest.FromString("index")),
		"deb-libstdc-6":       "pkg:deb/ubuntu/libstdc%2B%2B6@12.3.0-1ubuntu1~22.04?arch=amd64&distro=jammy",
		"deb-vim":             "pkg:deb/ubuntu/vim@2:8.2?arch=amd64&distro=jammy",
		"deb-gone":            "pkg:deb/ubuntu/gone@1?arch=amd64&distro=jammy",
		"container-model":     "pkg:oci/model@" + string(digest.FromString("model")) + "?arch=amd64",
		"deb-model-vim":       "pkg:deb/debian/vim@2:9?arch=amd64&distro=testing",
		"container-web":       "pkg:oci/web@sha256:" + hex + "?arch=amd64&repository_url=ghcr.io/org/web",
		"container-saved":     "pkg:oci/saved@" + string(digest.FromString("saved")) + "?arch=amd64",
		"model-greeter":       "pkg:generic/greeter?checksum=sha256:" + hex,
		"model-big":           "pkg:huggingface/org/repo@" + strings.Repeat("c", 40),
		"model-other":         "pkg:generic/other?checksum=sha256:" + hex + "&download_url=https://example.org/other.gguf",
		"program-agid":        "pkg:golang/github.com/agibake/agibake@1.2.3#cmd/agid",
		"go-golang.org-x-sys": "pkg:golang/golang.org/x/sys@v0.1.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package URLs (-want +got):\n%s", diff)
	}
	lib, vim := doc.Packages[1], doc.Packages[2]
	if lib.PackageSupplier.Supplier != "Ubuntu Core developers (ubuntu-devel-discuss@lists.ubuntu.com)" || lib.PackageSupplier.SupplierType != "Organization" ||
		lib.PackageOriginator.OriginatorType != "Person" || lib.PackageSourceInfo != "built from the source package gcc-12 12.3.0-1" || lib.PackageHomePage != "http://gcc.gnu.org/" ||
		!strings.HasPrefix(lib.PackageLicenseDeclared, "LicenseRef-GPL-3-with-GCC-exception-") || lib.FilesAnalyzed || lib.PackageChecksums[0].Value != hex {
		t.Errorf("%+v", lib)
	}
	if vim.PackageSupplier != nil || vim.PackageHomePage != "" || vim.PackageLicenseDeclared != "MIT" {
		t.Errorf("%+v", vim)
	}
	if len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].ExtractedText != "text" || doc.OtherLicenses[0].LicenseName != "GPL-3-with-GCC-exception" {
		t.Errorf("%+v", doc.OtherLicenses)
	}
}

// roundTrip wants the library to know every field: what it writes again says the same.
func roundTrip(t *testing.T, data []byte, doc *v2_3.Document) {
	t.Helper()
	var out bytes.Buffer
	if err := spdx.Write(doc, &out); err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the library changes the document (-ours +its):\n%s", diff)
	}
}

func TestFindAndRead(t *testing.T) {
	l, err := artifact.CreateLayout(filepath.Join(t.TempDir(), "oci"))
	if err != nil {
		t.Fatal(err)
	}
	raw, index, err := artifact.Encode(v1.MediaTypeImageIndex, v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	if err == nil {
		err = l.PutManifest(t.Context(), index, raw, "1")
	}
	if err != nil {
		t.Fatal(err)
	}
	put, err := Write(t.Context(), l, index, []byte(`{"spdxVersion":"SPDX-2.3"}`))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := Find(t.Context(), l, index.Digest); err != nil || d.Digest != put.Digest {
		t.Errorf("%v, %v", d, err)
	}
	if data, err := Read(t.Context(), l, index.Digest); err != nil || string(data) != `{"spdxVersion":"SPDX-2.3"}` {
		t.Errorf("%q, %v", data, err)
	}
}

func TestParty(t *testing.T) {
	for in, want := range map[string]string{
		"Jane Doe <jane@example.org>":                   "Person: Jane Doe (jane@example.org)",
		`"Doe, Jane" <jane@example.org>`:                "Person: Doe, Jane (jane@example.org)",
		"Debian GCC Maintainers <gcc@lists.debian.org>": "Organization: Debian GCC Maintainers (gcc@lists.debian.org)",
		"": "", "nobody": "", "<a@b>": "", "A <b>": "", "A <b@c>, D <e@f>": "",
	} {
		if got := party(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
