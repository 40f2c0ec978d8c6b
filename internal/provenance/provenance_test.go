package provenance

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/lock"
)

var hex = strings.Repeat("ab", 32)

func describe(text string) v1.Descriptor {
	return v1.Descriptor{MediaType: "text/plain", Digest: digest.FromString(text), Size: int64(len(text))}
}

func sample() Input {
	deb := lock.Package{Name: "vim", Version: "2:8", Architecture: "amd64", URL: "http://archive.example/pool/vim.deb", SHA256: hex}
	suite := lock.Archive{URL: "https://user:secret@archive.example/ubuntu/", Suite: "jammy", SHA256: hex, SignedBy: "F6EC"}
	set := lock.Packages{Archives: []lock.Archive{suite}, Packages: []lock.Package{deb}}
	blob := func(text string) *lock.Blob {
		return &lock.Blob{MediaType: "x/" + text, Digest: string(digest.FromString(text)), Size: 1}
	}
	return Input{
		Lock: &lock.Lock{Epoch: 1700000000, System: set,
			Containers: []lock.Container{{Name: "built", Packages: &set},
				{Name: "pulled", Source: "registry:ghcr.io/org/web", Manifest: blob("m"), Config: blob("c"), Layers: []lock.Blob{*blob("l")}},
				{Name: "saved", Source: "archive:/home/person/saved.tar", Config: blob("c2")}},
			Models: []lock.File{{Name: "a", Path: "a.gguf", Source: "file:/home/person/a.gguf", SHA256: hex}, {Path: "b.gguf", Source: "oci://ghcr.io/org/b:1", SHA256: hex}},
			Files:  []lock.File{{Path: "/etc/x", Source: "/home/person/x", SHA256: hex}}},
		LockDigest: hex,
		Appliance: &artifact.Appliance{Name: "saiga", Version: "1.0.0", Index: describe("index"), Rootfs: describe("rootfs"),
			Recipe: describe("recipe"), Lock: describe("lock"), Disks: []artifact.Disk{{Format: "qcow2", File: "saiga-1.0.0.qcow2", SHA256: hex}}},
		Formats: []string{"qcow2"}, Compression: "zstd", Key: "key", Tool: "1.2.3", Programs: []Program{{"agibake", hex}, {"agid", hex}},
	}
}

// TestBuild lets the in-toto project's own types read the statement strictly and judge it.
func TestBuild(t *testing.T) {
	data, err := Build(sample())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Build(sample()); !bytes.Equal(data, again) {
		t.Error("the same input gives other bytes")
	}
	for _, leak := range []string{"/home/person", "secret", "startedOn", "finishedOn"} {
		if bytes.Contains(data, []byte(leak)) {
			t.Errorf("the statement tells of %s", leak)
		}
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	raw, err := s.Predicate.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var p slsa.Provenance
	if err := protojson.Unmarshal(raw, &p); err != nil { // unknown fields are errors
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if s.PredicateType != "https://slsa.dev/provenance/v1" || p.RunDetails.Metadata.InvocationId != "key" || p.RunDetails.Builder.Version["agibake"] != "1.2.3" || len(p.RunDetails.Builder.BuilderDependencies) != 2 {
		t.Errorf("%s", data)
	}
	subjects := map[string]string{}
	for _, r := range s.Subject {
		subjects[r.Name] = r.Digest["sha256"]
	}
	if diff := cmp.Diff(map[string]string{"saiga-1.0.0": digest.FromString("index").Encoded(), "saiga-1.0.0-rootfs": digest.FromString("rootfs").Encoded(), "saiga-1.0.0.qcow2": hex}, subjects); diff != "" {
		t.Error(diff)
	}
	var got []string
	for _, r := range p.BuildDefinition.ResolvedDependencies {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		got = append(got, r.Name+" "+r.Uri)
	}
	want := []string{
		"jammy https://archive.example/ubuntu/dists/jammy/InRelease",
		"vim_2:8_amd64 http://archive.example/pool/vim.deb",
		"container built: jammy https://archive.example/ubuntu/dists/jammy/InRelease",
		"container built: vim_2:8_amd64 http://archive.example/pool/vim.deb",
		"container pulled oci://ghcr.io/org/web@" + string(digest.FromString("m")),
		"container pulled oci://ghcr.io/org/web@" + string(digest.FromString("c")),
		"container pulled oci://ghcr.io/org/web@" + string(digest.FromString("l")),
		"container saved ",
		"models/a.gguf ", "models/b.gguf oci://ghcr.io/org/b:1", "/etc/x ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var ours Statement
	if err := json.Unmarshal(data, &ours); err != nil || ours.Predicate.BuildDefinition.External.Recipe.Digest["sha256"] != digest.FromString("recipe").Encoded() ||
		ours.Predicate.BuildDefinition.BuildType != BuildType {
		t.Errorf("%+v, %v", ours, err)
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
	if _, err := Write(t.Context(), l, index, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	d, err := Find(t.Context(), l, index.Digest)
	if err != nil || d.Annotations["in-toto.io/predicate-type"] != PredicateType {
		t.Errorf("%v, %v", d, err)
	}
	if data, err := Read(t.Context(), l, index.Digest); err != nil || string(data) != `{}` {
		t.Errorf("%q, %v", data, err)
	}
}
