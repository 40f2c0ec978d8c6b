// Package sample makes small appliances for tests.
package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
)

// T is what is needed of a testing.TB; scripts have one of their own.
type T interface {
	Helper()
	Fatal(args ...any)
	TempDir() string
	Context() context.Context
}

const epoch = 1_700_000_000

// Spec says what is in a sample.
type Spec struct {
	Version string // "" is 1.0.0
	Motd    string // content of the configuration
	Disk    string // content of its qcow2 disk
	Lock    *lock.Lock
}

// Lock pins one input, whose content is "input".
func Lock(version string) *lock.Lock {
	return &lock.Lock{
		APIVersion: lock.APIVersion, Epoch: epoch,
		Recipe: recipe.Recipe{APIVersion: recipe.APIVersion, Kind: recipe.Kind, Name: "saiga", Version: version},
		System: lock.Packages{Distribution: "ubuntu", Release: "jammy"},
		Files:  []lock.File{{Path: "/etc/input", Source: "file:.", Size: 5, SHA256: digest.FromString("input").Encoded()}},
	}
}

// Appliance writes the appliance saiga to dir, as a bake does, with an SBOM and a provenance.
func Appliance(t T, dir string, s Spec) (*artifact.Layout, *artifact.Appliance) {
	t.Helper()
	if s.Version == "" {
		s.Version = "1.0.0"
	}
	if s.Disk == "" {
		s.Disk = strings.Repeat("disk", 20)
	}
	if s.Lock == nil {
		s.Lock = Lock(s.Version)
	}
	text, yaml, err := lock.Portable(s.Lock)
	check(t, err)
	disk := filepath.Join(dir, "saiga-"+s.Version+".qcow2")
	check(t, os.MkdirAll(dir, 0o755))
	check(t, os.WriteFile(disk, []byte(s.Disk), 0o644))
	sums, err := artifact.SumFile(t.Context(), strings.NewReader(s.Disk), 0)
	check(t, err)
	l, err := artifact.CreateLayout(filepath.Join(dir, "oci"))
	check(t, err)
	made, err := artifact.Assemble(t.Context(), l, artifact.ApplianceSpec{
		Config: artifact.Config{Name: "saiga", Version: s.Version, Created: *artifact.Time(epoch), LockDigest: digest.FromBytes(text).Encoded(),
			Machine: artifact.Machine{CPUs: 2, Memory: 1 << 30, Firmware: []string{"bios"}, Agent: 8443}},
		Layers: []artifact.LayerFile{packed(t, "base system", "etc/os-release", "ubuntu"), packed(t, "configuration", "etc/motd", s.Motd)},
		Disks:  []artifact.DiskFile{{Format: "qcow2", Path: disk, Sums: sums}},
		Recipe: yaml, Lock: text,
	})
	check(t, err)
	for _, r := range []artifact.Referrer{
		{Type: artifact.TypeSPDX, Title: "sbom.spdx.json", Data: []byte(`{"spdxVersion":"SPDX-2.3","name":"saiga","packages":[{"SPDXID":"SPDXRef-deb-htop","name":"htop","licenseDeclared":"GPL-2.0-only"}]}` + "\n")},
		{Type: artifact.TypeInToto, Title: "provenance.json", Data: fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"saiga","digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"externalParameters":{"compression":"zstd"}}}}`+"\n", made.Index.Digest.Encoded())},
	} {
		_, err := artifact.PutReferrer(t.Context(), l, made.Index, r)
		check(t, err)
	}
	l, a, err := artifact.OpenFolder(t.Context(), dir)
	check(t, err)
	return l, a
}

// packed is a layer of one file.
func packed(t T, comment, name, content string) artifact.LayerFile {
	t.Helper()
	tr := tree.New()
	check(t, tr.WriteFile(name, []byte(content), 0o644, epoch))
	var b bytes.Buffer
	z := layer.NewGzipWriter(t.Context(), &b, 1)
	id, err := layer.Write(t.Context(), z, tr)
	check(t, errors.Join(z.Close(), err))
	path := filepath.Join(t.TempDir(), "layer")
	check(t, os.WriteFile(path, b.Bytes(), 0o644))
	return artifact.LayerFile{Path: path, DiffID: id, Digest: z.Digest(), Size: z.Size(), MediaType: v1.MediaTypeImageLayerGzip, Comment: comment}
}

func check(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
