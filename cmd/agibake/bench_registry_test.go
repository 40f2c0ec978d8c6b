package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/registry"
)

const (
	benchDisk     = "application/vnd.agibake.disk.v1.raw"
	benchPart     = artifact.PartSize
	benchDiskFile = "bench-1.0.0.raw"
)

// registry pushes a disk to a registry on this machine and pulls it again, beside other clients and beside what a
// copy with its digest takes.
func (b *bench) registry() {
	program := find("docker-registry")
	if program == "" {
		b.Skip("SKIPPED: docker-registry is missing: apt-get install docker-registry")
	}
	size := setting(b.T, "AGIBAKE_BENCH_REGISTRY", 5) << 30
	if need := 4*size + 1<<30; b.free() < need {
		b.Skipf("SKIPPED: %s has no room for %d MiB", b.dir, need>>20)
	}
	dir := b.dir + "/registry"
	b.mkdir(dir + "/in")
	defer b.remove(dir)
	b.must(benchAppliance(dir+"/in", size))
	disk := dir + "/in/" + benchDiskFile
	copied := repeat(b.runs, func(int) sample {
		b.remove(dir + "/copy")
		return b.measure("sh", "-c", `cp "$0" "$1" && sha256sum "$1"`, disk, dir+"/copy")
	})
	b.remove(dir + "/copy")
	rows := [][]string{{"client", "push", "pull", "both", "agibake's time beside it", "memory"}}
	var ours series
	row := func(name string, push, pull series) {
		both := push.then(pull)
		beside := ""
		if ours == nil {
			ours = both
		} else {
			beside = ratio(ours.wall(), both.wall())
		}
		rows = append(rows, []string{name, push.String(), pull.String(), both.String(), beside, mib(both.peak())})
	}
	for _, c := range b.registryClients(dir, size) {
		if c.name != "agibake" && find(c.name) == "" {
			rows = append(rows, []string{c.name, "not installed", "", "", "", ""})
			continue
		}
		var push, pull series
		for range b.runs {
			b.remove(dir+"/storage", dir+"/out")
			b.mkdir(dir + "/out")
			host, stop := startRegistry(b.T, program, dir)
			args := c.push(host)
			push = append(push, b.measure(args[0], args[1:]...))
			args = c.pull(host)
			pull = append(pull, b.measure(args[0], args[1:]...))
			stop()
		}
		if c.name == "agibake" {
			b.sameFile(disk, dir+"/out/"+benchDiskFile)
		}
		row(c.name, push, pull)
	}
	rows = append(rows, []string{"`cp`, then `sha256sum`, once", copied.String(), "", "", ratio(ours.wall(), copied.wall()), ""})
	b.page.target("push and pull, beside twice `cp` and `sha256sum` of the same file", ours.wall()/(2*copied.wall()), 1/0.7, " ×")
	b.page.target("memory of push and pull", float64(ours.peak())/(1<<20), 200, " MiB")
	b.page.section("Registry", "A disk of "+mib(size)+" to docker-registry on this machine, its files on the same file system, and back. agibake cuts at 1 GiB\n"+
		"and flushes what it pulled; the others send one layer and do not flush.")
	b.page.table(rows...)
}

type registryClient struct {
	name       string
	push, pull func(host string) []string
}

func (b *bench) registryClients(dir string, size int64) []registryClient {
	layout := "oci:" + dir + "/in/whole:1"
	return []registryClient{
		{"agibake", func(host string) []string {
			return []string{"bench-registry", "push", dir + "/in", host + "/b/a:1", strconv.FormatInt(size, 10)}
		},
			func(host string) []string { return []string{"bench-registry", "pull", dir + "/out", host + "/b/a:1"} }},
		{"skopeo", func(host string) []string {
			return []string{"skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", layout, "docker://" + host + "/b/s:1"}
		}, func(host string) []string {
			return []string{"skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://" + host + "/b/s:1", "oci:" + dir + "/out/s:1"}
		}},
		{"crane", func(host string) []string { return []string{"crane", "push", dir + "/in/whole", host + "/b/c:1"} },
			func(host string) []string {
				return []string{"crane", "pull", "--format=oci", host + "/b/c:1", dir + "/out/c"}
			}},
		{"oras", func(host string) []string {
			return []string{"sh", "-c", `cd "$0" && exec oras push --plain-http "$1" "$2"`, dir + "/in", host + "/b/o:1", benchDiskFile}
		}, func(host string) []string {
			return []string{"oras", "pull", "--plain-http", "-o", dir + "/out", host + "/b/o:1"}
		}},
	}
}

func (b *bench) sameFile(one, other string) {
	b.Helper()
	if out, err := exec.Command("cmp", one, other).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v", out, err)
	}
}

// benchAppliance writes a disk that no compression shrinks, an appliance of it in parts, and a plain image of it in
// one layer for the clients that know nothing else.
func benchAppliance(dir string, size int64) error {
	f, err := os.Create(filepath.Join(dir, benchDiskFile))
	if err != nil {
		return err
	}
	defer f.Close()
	whole, part := sha256.New(), sha256.New()
	var parts []v1.Descriptor
	noise, buf := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for at := int64(0); at < size; {
		_, _ = noise.Read(buf)
		if _, err := io.MultiWriter(f, whole, part).Write(buf); err != nil {
			return err
		}
		if at += int64(len(buf)); at%benchPart == 0 || at == size {
			parts = append(parts, v1.Descriptor{MediaType: benchDisk, Digest: digest.NewDigest(digest.SHA256, part), Size: (at-1)%benchPart + 1,
				Annotations: map[string]string{v1.AnnotationTitle: fmt.Sprintf("%s.part-%03d", benchDiskFile, len(parts)+1)}})
			part.Reset()
		}
	}
	if len(parts) == 1 {
		parts[0].Annotations[v1.AnnotationTitle] = benchDiskFile
	}
	if err := benchLayout(dir+"/oci", benchDisk, "{}", parts); err != nil {
		return err
	}
	layer := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.NewDigest(digest.SHA256, whole), Size: size}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, layer.Digest)
	if err := benchLayout(dir+"/whole", "", config, []v1.Descriptor{layer}); err != nil {
		return err
	}
	return os.Link(f.Name(), filepath.Join(dir, "whole", "blobs", "sha256", layer.Digest.Encoded()))
}

func benchLayout(dir, kind, config string, layers []v1.Descriptor) error {
	ctx := context.Background()
	l, err := artifact.CreateLayout(dir)
	if err != nil {
		return err
	}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: kind, Layers: layers,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromString(config), Size: int64(len(config))}}
	if kind != "" {
		m.Config.MediaType = v1.MediaTypeEmptyJSON
	}
	raw, d, err := artifact.Encode(v1.MediaTypeImageManifest, m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", m.Config.Digest.Encoded()), []byte(config), 0o644); err != nil {
		return err
	}
	return l.PutManifest(ctx, d, raw, "1")
}

// registryChild takes push FOLDER REFERENCE SIZE or pull FOLDER REFERENCE.
func registryChild(args []string) error {
	ctx, dir := context.Background(), args[1]
	r, err := registry.Open(ctx, args[2], registry.Options{State: dir + "/uploads"})
	if err != nil {
		return err
	}
	l, err := artifact.CreateLayout(dir + "/oci")
	if err != nil {
		return err
	}
	if args[0] == "pull" {
		root, err := r.Resolve(ctx, r.Reference())
		if err == nil {
			_, err = registry.Pull(ctx, r, root, l, registry.PullOptions{Files: dir, Tag: "1"}, nil)
		}
		return err
	}
	root, err := l.Resolve(ctx, "1")
	if err != nil {
		return err
	}
	raw, err := l.Manifest(ctx, root)
	if err != nil {
		return err
	}
	m, err := artifact.Decode(raw, root)
	if err != nil {
		return err
	}
	at := int64(0)
	for _, d := range m.Layers {
		l.Provide(d, filepath.Join(dir, benchDiskFile), at)
		at += d.Size
	}
	_, err = registry.Push(ctx, l, root, r, registry.PushOptions{}, nil)
	return err
}
