package preload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

// needTools is referee.Need for tests that need root, too.
func needTools(t testing.TB, names ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: overlay mounts and trusted attributes need root")
	}
	referee.Need(t, names...)
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v: %s%s", name, args, err, out.String(), stderr.String())
	}
	return out.String()
}

// extract writes the tree below dir by GNU tar, with owners, devices and attributes.
func extract(t testing.TB, tr *tree.Tree, dir string) {
	t.Helper()
	cmd := exec.Command("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "-", "-C", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Write(context.Background(), in, tr); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("tar: %v: %s", err, out.String())
	}
}

// daemon starts a program and stops it at the test's end.
func daemon(t testing.TB, log string, name string, args ...string) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		out.Close()
		if data, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s: %s", name, data[max(0, len(data)-3000):])
		}
	})
}

// startContainerd runs containerd over the store in root/var/lib/containerd and returns a ctr for Docker's namespace.
func startContainerd(t testing.TB, containerd, ctr, root string, version int) (func(args ...string) string, string) {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf("version = %d\nroot = %q\nstate = %q\ndisabled_plugins = [%s]\n[grpc]\naddress = %q\n", version,
		filepath.Join(root, storeRoot), filepath.Join(dir, "state"),
		`"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"`, socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon(t, filepath.Join(dir, "log"), containerd, "-c", filepath.Join(dir, "config.toml"))
	call := func(args ...string) string {
		t.Helper()
		return run(t, ctr, append([]string{"-a", socket, "-n", namespace}, args...)...)
	}
	for range 100 {
		if exec.Command(ctr, "-a", socket, "version").Run() == nil {
			return call, socket
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("containerd does not answer")
	return nil, ""
}

// refereeImage has all that layers can say, in an order that no engine's own builds have.
func refereeImage(t testing.TB) Image {
	return makeImage(t, "registry.example/org/model:v1",
		tarOf(t, "0755:0 d .", "d etc", "f etc/keep 1", "f etc/gone 1", "f etc/changed 1", "d opaque", "f opaque/old 1", "d opaque/sub", "f opaque/sub/old 1",
			"d usr", "0711:3 d usr/lib", "f usr/lib/lower 1", "l lib usr/lib", "0750:7 d private", "f private/a 1", "d away", "f away/x 1", "f turn 1",
			"f base-file hello", "d folder-to-file", "f folder-to-file/x 1", "04755:2 f suid x", "f renamed 1", "f emptied/out 1"),
		tarOf(t, "f etc/.wh.gone", "f etc/changed 2", "f opaque/.wh..wh..opq", "f opaque/new 2", "d opaque/sub", "f lib/upper 2", "f private/b 2",
			"h new-name renamed", "f .wh.renamed", "h taken emptied/out", "f emptied/.wh..wh..opq", "f .wh.away", "f folder-to-file 2", "f turn2 2", "h turn2-link turn2", "f .wh.nothing"),
		tarOf(t, "d away", "f away/y 3", "f private/.wh.a", "h private/hard base-file", "f usr/lib/.wh.lower", "f deep/er/file 3"),
		tarOf(t, "0700:5 d .", "f etc/.wh.keep", "f etc/keep2 4"))
}

// record is what is compared of one file.
func walk(t testing.TB, root string) map[string]string {
	t.Helper()
	m := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %q %d", data, info.ModTime().Unix())
			if st.Nlink > 1 {
				if first, ok := inodes[st.Ino]; ok {
					text += " = " + first
				} else {
					inodes[st.Ino] = rel
				}
			}
		case info.Mode()&os.ModeSymlink != 0:
			to, _ := os.Readlink(name)
			text += " -> " + to
		case info.Mode()&os.ModeDevice != 0:
			text += fmt.Sprintf(" device %d", st.Rdev)
		}
		m[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// umociUnpack lets umoci say what the image's tree is.
func umociUnpack(t testing.TB, im Image) map[string]string {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
		name, err := artifact.Hex(d.Digest)
		if err := errors.Join(err, os.WriteFile(filepath.Join(blobs, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, l := range im.Layers {
		data, err := os.ReadFile(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		put(data)
	}
	put(im.Config)
	d := put(im.Manifest)
	d.Annotations = map[string]string{v1.AnnotationRefName: "x"}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}})
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	run(t, "umoci", "unpack", "--image", dir+":x", bundle)
	return walk(t, filepath.Join(bundle, "rootfs"))
}

// judge lets a containerd judge a placed store, and umoci the tree of its containers.
func judge(t *testing.T, containerd, ctr string, configVersion int) {
	im := refereeImage(t)
	images := append(manyImages(t), im, makeImage(t, "empty"))
	root := t.TempDir()
	extract(t, place(t, images...).Tree, root)
	call, _ := startContainerd(t, containerd, ctr, root, configVersion)

	check := func() {
		t.Helper()
		list := call("images", "check", "--snapshotter", snapshotter)
		for _, im := range images {
			name, _ := Name(im.Reference, digest.FromBytes(im.Manifest))
			ok := false
			for _, line := range strings.Split(list, "\n") {
				n := len(im.Layers) + 1 // and the config
				ok = ok || strings.HasPrefix(line, name+" ") && strings.Contains(line, string(digest.FromBytes(im.Manifest))) &&
					strings.Contains(line, fmt.Sprintf("complete (%d/%d)", n, n)) && (strings.Contains(line, " true") || len(im.Layers) == 0)
			}
			if !ok {
				t.Fatalf("%s is not complete and unpacked:\n%s", name, list)
			}
		}
		if got, want := strings.Count(call("snapshots", "--snapshotter", snapshotter, "ls"), "Committed"), 1+12+12+4; got != want {
			t.Errorf("%d snapshots, want %d", got, want)
		}
	}
	check()
	call("leases", "create", "--id", "x")
	call("leases", "delete", "--sync", "x") // runs the garbage collector
	check()

	chain := digest.Digest(im.Layers[0].DiffID)
	for _, l := range im.Layers[1:] {
		chain = chainID(chain, digest.Digest(l.DiffID))
	}
	call("snapshots", "--snapshotter", snapshotter, "view", "look", string(chain))
	target := t.TempDir()
	mount := strings.TrimSpace(call("snapshots", "--snapshotter", snapshotter, "mounts", target, "look"))
	run(t, "sh", "-c", mount)
	got := walk(t, target)
	run(t, "umount", target)
	if diff := cmp.Diff(umociUnpack(t, im), got); diff != "" {
		t.Errorf("umoci (-) and the mounted snapshot (+) differ: %s", diff)
	}
	if _, gone := got["away/x"]; gone || got["away/y"] == "" {
		t.Errorf("away holds what a lower layer lost")
	}

	out := filepath.Join(t.TempDir(), "export.tar")
	call("images", "export", "--platform", "linux/amd64", out, "registry.example/org/model:v1")
	listing := run(t, "tar", "tf", out)
	for _, l := range im.Layers {
		if name, _ := artifact.Hex(digest.Digest(l.Digest)); !strings.Contains(listing, name) {
			t.Errorf("the export lacks %s", l.Digest)
		}
	}
	call("snapshots", "--snapshotter", snapshotter, "prepare", "new", string(chain)) // the next id is free
}

func TestContainerd(t *testing.T) {
	needTools(t, "containerd", "ctr", "umoci", "tar", "mount")
	judge(t, "containerd", "ctr", 2)
}
