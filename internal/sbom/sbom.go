// Package sbom writes and finds the bill of materials of an appliance: one SPDX 2.3 document of every package, container
// image, model and file in it, with digests, package URLs and licences. docs/formats.md has the mapping.
package sbom

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/epoch"
	"github.com/agibake/agibake/internal/lock"
)

// Input is what a document is made of. Everything in it reaches the bytes.
type Input struct {
	Lock       *lock.Lock
	LockDigest string        // hex
	Index      digest.Digest // of the appliance
	Tool       string        // version of agibake
	System     Packages
	Containers []Container // of the lock's, in its order
	Models     []License   // what the lock's models say of themselves, in its order
	Agent      Program
}

// Container is what a bake knows of an image beyond the lock.
type Container struct {
	Digest   digest.Digest // of its manifest
	Packages Packages      // installed in it; only looked at where the lock has packages for it
}

// Program is a program of ours inside the appliance.
type Program struct {
	Version string // "" means Input.Tool
	SHA256  string // hex
	Modules []Module
}

// Module is a Go module that is linked into a Program.
type Module struct{ Path, Version string }

// MaxSize is the most bytes that a document may have.
const MaxSize = 64 << 20

const title = "sbom.spdx.json"

// Build returns the document: equal inputs give equal bytes.
func Build(in Input) ([]byte, error) {
	l := in.Lock
	name := l.Recipe.Name + "-" + l.Recipe.Version
	b := &builder{ids: map[string]bool{}, texts: map[string]string{}}
	b.doc = document{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: fmt.Sprintf("https://agibake.org/spdx/%s/%s", name, epoch.String(epoch.UUID(in.LockDigest, "spdx "+in.Tool+" "+string(in.Index)))),
		Creation:  creation{time.Unix(l.Epoch, 0).UTC().Format(time.RFC3339), []string{"Tool: agibake-" + in.Tool}},
	}
	root := b.add(element{Name: l.Recipe.Name, Version: l.Recipe.Version, Purpose: "OPERATING-SYSTEM",
		Checksums: sum(in.Index.Encoded()), Comment: "the checksum is that of the appliance's OCI index",
		References: refer(purl("oci", l.Recipe.Name, string(in.Index)))}, "appliance", "", "")
	b.relate("SPDXRef-DOCUMENT", "DESCRIBES", root)
	b.packages(root, &l.System, in.System, "")
	for i := range l.Containers {
		c := Container{}
		if i < len(in.Containers) {
			c = in.Containers[i]
		}
		b.container(root, &l.Containers[i], c)
	}
	for i, m := range l.Models {
		license := License{}
		if i < len(in.Models) {
			license = in.Models[i]
		}
		b.file(root, "model", m, license, modelPURL(cmp.Or(m.Name, m.Path), m.Source, m.SHA256), "models/"+m.Path)
	}
	for _, f := range l.Files {
		b.file(root, "file", f, License{}, "", f.Path)
	}
	b.agent(root, in)
	for _, id := range slices.Sorted(maps.Keys(b.texts)) {
		readable := strings.TrimPrefix(id, "LicenseRef-")
		b.doc.Licenses = append(b.doc.Licenses, licenseText{ID: id, Text: b.texts[id], Name: readable[:len(readable)-9]})
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(b.doc); err != nil {
		return nil, fmt.Errorf("write SBOM: %w", err)
	}
	return out.Bytes(), nil
}

type builder struct {
	doc   document
	ids   map[string]bool
	texts map[string]string // by LicenseRef
}

var notInAnID = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// add adds an element with an id made of kind, place and name, contained in parent.
func (b *builder) add(e element, kind, place, parent string) string {
	id := "SPDXRef-" + kind
	for _, part := range []string{place, e.Name} {
		if part != "" && kind != "appliance" {
			id += "-" + notInAnID.ReplaceAllString(part, "-")
		}
	}
	e.ID = id
	for i := 2; b.ids[e.ID]; i++ {
		e.ID = fmt.Sprintf("%s-%d", id, i)
	}
	b.ids[e.ID] = true
	e.DownloadLocation = cmp.Or(e.DownloadLocation, none)
	e.LicenseConcluded, e.LicenseDeclared, e.Copyright = none, cmp.Or(e.LicenseDeclared, none), none
	b.doc.Packages = append(b.doc.Packages, e)
	if parent != "" {
		b.relate(parent, "CONTAINS", e.ID)
	}
	return e.ID
}

func (b *builder) relate(element, kind, related string) {
	b.doc.Relationships = append(b.doc.Relationships, relationship{element, kind, related})
}

// packages adds every .deb of a set.
func (b *builder) packages(parent string, set *lock.Packages, known Packages, place string) {
	for _, p := range set.Packages {
		i := known[Key(p.Name, p.Architecture)]
		e := element{Name: p.Name, Version: p.Version, DownloadLocation: download(p.URL), Checksums: sum(p.SHA256), Homepage: homepage(i.Homepage),
			References: refer(purl("deb/"+escape(set.Distribution), p.Name, p.Version, "arch", p.Architecture, "distro", set.Release))}
		if i.Version == p.Version { // else it is not this one
			e.Supplier, e.Originator = party(i.Maintainer), party(i.OriginalMaintainer)
			e.SourceInfo = "built from the source package " + i.Source + " " + i.SourceVersion
			e.LicenseDeclared = i.License.Expression
			maps.Copy(b.texts, i.License.Texts)
		}
		b.add(e, "deb", place, parent)
	}
}

// container adds an image and, where it was built from packages, those.
func (b *builder) container(parent string, c *lock.Container, known Container) {
	repository, _ := strings.CutPrefix(c.Source, "registry:")
	if repository == c.Source {
		repository = ""
	}
	base, _, _ := strings.Cut(c.Reference, "@")
	base = base[strings.LastIndexByte(base, '/')+1:]
	base, _, _ = strings.Cut(base, ":")
	e := element{Name: c.Name, Version: string(known.Digest), Purpose: "CONTAINER", Checksums: sum(known.Digest.Encoded()),
		References: refer(purl("oci", strings.ToLower(base), string(known.Digest), "arch", "amd64", "repository_url", repository))}
	if c.Packages == nil {
		e.Comment = "the packages inside this image are not listed"
	}
	id := b.add(e, "container", "", parent)
	if c.Packages != nil {
		b.packages(id, c.Packages, known.Packages, c.Name)
	}
}

// file adds a pinned file.
func (b *builder) file(parent, kind string, f lock.File, license License, url, path string) {
	maps.Copy(b.texts, license.Texts)
	e := element{Name: cmp.Or(f.Name, f.Path), FileName: path, Purpose: "FILE", DownloadLocation: download(f.Source), Checksums: sum(f.SHA256),
		Comment: fmt.Sprintf("%d bytes", f.Size), LicenseDeclared: license.Expression}
	if url != "" {
		e.References = refer(url)
	}
	b.add(e, kind, "", parent)
}

// agent adds our program, and what is linked into it.
func (b *builder) agent(parent string, in Input) {
	const module = "github.com/agibake/agibake"
	version := cmp.Or(in.Agent.Version, in.Tool)
	id := b.add(element{Name: "agid", Version: version, Purpose: "APPLICATION", Checksums: sum(in.Agent.SHA256), LicenseDeclared: "Apache-2.0",
		References: refer(golang(module, version) + "#cmd/agid")}, "program", "", parent)
	for _, m := range in.Agent.Modules {
		b.add(element{Name: m.Path, Version: m.Version, Purpose: "LIBRARY", References: refer(golang(m.Path, m.Version))}, "go", "", id)
	}
}

// golang is the package URL of a module.
func golang(path, version string) string {
	i := strings.LastIndexByte(path, '/') + 1
	return purl(strings.ToLower("golang/"+strings.TrimSuffix(path[:i], "/")), strings.ToLower(path[i:]), version)
}

func sum(hex string) []checksum {
	if hex == "" {
		return nil
	}
	return []checksum{{"SHA256", hex}}
}

func refer(url string) []reference { return []reference{{"PACKAGE-MANAGER", "purl", url}} }

var (
	mailbox  = regexp.MustCompile(`^\s*"?([^"<>]*?)"?\s*<([^<>\s]+@[^<>\s]+)>\s*$`)
	manyForm = regexp.MustCompile(`(?i)\b(developers|maintainers|team|group|project|packagers|list|ubuntu|debian|canonical)\b`)
	webForm  = regexp.MustCompile(`^https?://[^\s"<>\\^{}|]+$`)
)

// party is the SPDX form of a Maintainer field, "NAME <ADDRESS>": "" for anything else.
func party(maintainer string) string {
	m := mailbox.FindStringSubmatch(maintainer)
	if m == nil || m[1] == "" {
		return ""
	}
	kind := "Person"
	if manyForm.MatchString(m[1]) {
		kind = "Organization"
	}
	return fmt.Sprintf("%s: %s (%s)", kind, m[1], m[2])
}

func homepage(s string) string {
	if !webForm.MatchString(s) {
		return ""
	}
	return s
}

// Write stores the document as a referrer of the appliance's index and returns the referrer's manifest.
func Write(ctx context.Context, s artifact.Store, index v1.Descriptor, document []byte) (v1.Descriptor, error) {
	return artifact.PutReferrer(ctx, s, index, artifact.Referrer{Type: artifact.TypeSPDX, Title: title, Data: document})
}

// Find returns the manifest of the SBOM of the index with a digest: artifact.ErrNotFound if it has none.
func Find(ctx context.Context, s artifact.Store, index digest.Digest) (v1.Descriptor, error) {
	return artifact.FindReferrer(ctx, s, index, artifact.TypeSPDX)
}

// Read returns the document of the SBOM of the index with a digest, its digests checked. Whether it is to be believed
// is for a signature to say.
func Read(ctx context.Context, s artifact.Store, index digest.Digest) ([]byte, error) {
	d, err := Find(ctx, s, index)
	if err != nil {
		return nil, err
	}
	return artifact.ReadReferrer(ctx, s, d, index, artifact.TypeSPDX, MaxSize)
}
