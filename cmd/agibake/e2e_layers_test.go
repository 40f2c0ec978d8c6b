package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// sampleImage makes an image of uncompressed layers.
func sampleImage(t *testing.T, arch string, how compression.Compression, tars [][]byte) v1.Image {
	mediaType := types.OCILayer
	if how == compression.ZStd {
		mediaType = types.OCILayerZStd
	}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, data := range tars {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
			tarball.WithCompression(how), tarball.WithMediaType(mediaType))
		fatal(t, err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: mediaType})
		fatal(t, err)
	}
	config, err := img.ConfigFile()
	fatal(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Entrypoint, config.Config.Cmd = []string{"/bin/lister"}, []string{"/", "stay"}
	img, err = mutate.ConfigFile(img, config)
	fatal(t, err)
	return img
}

// sampleLayers has what layers can say of files, of what lies below, and of each other's files.
func sampleLayers(t *testing.T) [][]byte {
	lister := filepath.Join(t.TempDir(), "lister")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", lister, "./testdata/lister")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the lister: %v\n%s", err, out)
	}
	program, err := os.ReadFile(lister)
	fatal(t, err)
	long := strings.Repeat("long-", 50)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service=ep (capabilities(7))
	base := layerOf(t,
		folder(".", 0o755), folder("bin", 0o755), plain("bin/lister", string(program), 0o755),
		folder("etc", 0o755), folder("tmp", 0o1777), folder("proc", 0o555), folder("sys", 0o555), folder("dev", 0o755),
		plain("f/kept", "1", 0o644), plain("f/gone", "1", 0o644), plain("f/changed", "1", 0o644), plain("f/empty", "", 0o644),
		plain("f/suid", "s", 0o4755, 1234, 5678), plain("f/sgid", "s", 0o2710, 0, 1000000), plain("f/nobody-may", "x", 0, 65534, 65534),
		plain("f/large", strings.Repeat("agibake ", 40000)+strings.Repeat("\x00", 1<<20), 0o644),
		plain("f/ancient", "x", 0o644).at(1), plain("f/capable", "c", 0o755).with("security.capability", capability),
		plain("f/binds", "c", 0o755).with("security.capability", capability),
		plain("f/noted", "n", 0o644).with("user.note", "a note\x00with a zero"), manyNotes(plain("f/many-notes", "n", 0o644)),
		plain("f/"+long+"long", "x", 0o644), plain("f/"+long+"/"+long+"/"+long, "x", 0o644), plain("f/ключ с\tпробелом\n", "x", 0o644),
		plain("f/first", "hard", 0o644, 7), other("f/second", tar.TypeLink, "f/first"), other("g/third", tar.TypeLink, "f/first"),
		other("f/link", tar.TypeSymlink, "../"+long+"/nowhere", 9), other("f/also-link", tar.TypeSymlink, "../"+long+"/nowhere", 9), other("f/fifo", tar.TypeFifo, "", 0, 5),
		device("f/null", tar.TypeChar, 1, 3), device("f/loop", tar.TypeBlock, 7, 300),
		folder("opaque", 0o751, 11), plain("opaque/old", "1", 0o644), folder("opaque/sub", 0o755), plain("opaque/sub/old", "1", 0o644),
		folder("usr/lib", 0o755), plain("usr/lib/lower", "1", 0o644), other("lib", tar.TypeSymlink, "usr/lib"),
		folder("away", 0o700), folder("away/deep", 0o700), plain("away/deep/x", "1", 0o644),
		folder("private", 0o2750, 7, 8), plain("private/a", "1", 0o644),
		folder("folder-to-file", 0o755), plain("folder-to-file/x", "1", 0o644), plain("file-to-folder", "1", 0o644),
		other("link-to-folder", tar.TypeSymlink, "f"), plain("base-file", "hello", 0o644, 42))
	changes := layerOf(t,
		plain("f/.wh.gone", "", 0), plain("f/changed", "22", 0o600), plain("opaque/.wh..wh..opq", "", 0), plain("opaque/new", "2", 0o644),
		folder("opaque/sub", 0o700), plain("lib/upper", "2", 0o644), plain("private/b", "2", 0o644), plain(".wh.away", "", 0),
		plain("folder-to-file", "2", 0o644), folder("file-to-folder", 0o755), plain("file-to-folder/x", "2", 0o644),
		folder("link-to-folder", 0o711), plain("link-to-folder/x", "2", 0o644),
		plain(".wh.nothing", "", 0), plain("f/.wh.link", "", 0), plain("g/.wh.third", "", 0))
	again := layerOf(t,
		folder("away", 0o755), plain("away/y", "3", 0o644), plain("private/.wh.a", "", 0), other("private/hard", tar.TypeLink, "base-file"),
		plain("usr/lib/.wh.lower", "", 0), plain("deep/er/file", "3", 0o644), plain("f/capable", "without", 0o700))
	nothing := layerOf(t)
	// The root's own mode must be 0755: containerd gives a container's root the image's owner, but that mode.
	top := layerOf(t, folder(".", 0o755, 0, 5), folder("opaque", 0o755), plain("opaque/sub/.wh..wh..opq", "", 0), plain("opaque/sub/newest", "4", 0o644))
	return [][]byte{base, changes, nothing, again, nothing, top}
}

// member is one entry of a layer.
type member struct {
	tar.Header
	data string
}

func plain(name, data string, mode int64, owner ...int) member {
	m := other(name, tar.TypeReg, "", owner...)
	m.data, m.Mode, m.Size = data, mode, int64(len(data))
	return m
}

func folder(name string, mode int64, owner ...int) member {
	m := other(name, tar.TypeDir, "", owner...)
	m.Mode = mode
	return m
}

func device(name string, kind byte, major, minor int64) member {
	m := other(name, kind, "")
	m.Devmajor, m.Devminor = major, minor
	return m
}

// other is a member of any kind; owner is its uid, and its gid.
func other(name string, kind byte, link string, owner ...int) member {
	owner = append(owner, 0, 0)
	return member{Header: tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o640, Uid: owner[0], Gid: owner[1],
		ModTime: time.Unix(1_500_000_000, 0), Format: tar.FormatPAX, PAXRecords: map[string]string{}}}
}

func (m member) at(seconds int64) member {
	m.ModTime = time.Unix(seconds, 0)
	return m
}

func (m member) with(xattr, value string) member {
	m.PAXRecords["SCHILY.xattr."+xattr] = value
	return m
}

// manyNotes adds more attributes than an inode has room for.
func manyNotes(m member) member {
	for i := range 12 {
		m = m.with(fmt.Sprintf("user.note%d", i), strings.Repeat(fmt.Sprint(i), 200))
	}
	return m
}

func layerOf(t *testing.T, members ...member) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		fatal(t, w.WriteHeader(&m.Header))
		_, err := io.WriteString(w, m.data)
		fatal(t, err)
	}
	fatal(t, w.Close())
	return b.Bytes()
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
