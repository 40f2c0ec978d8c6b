package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

// clean has e2fsck look at an image; it must find nothing to mend and nothing to improve.
func clean(t testing.TB, img string) {
	t.Helper()
	out := referee.Run(t, "e2fsck", "-fn", img)
	for _, word := range []string{"optimized", "Fix", "WARNING", "IGNORED"} {
		if strings.Contains(out, word) {
			t.Errorf("e2fsck: %s", out)
		}
	}
}

// compareDumped holds files, folders and links against what debugfs takes out of the image.
func compareDumped(t testing.TB, tr *tree.Tree, img string) {
	t.Helper()
	dir := t.TempDir()
	referee.Run(t, "debugfs", "-R", "rdump / "+dir, img)
	for _, e := range tr.Entries() {
		for e.Type == tree.Hardlink {
			e = &tree.Entry{Path: e.Path, Type: tree.File, Size: tr.Lookup(e.Link).Size, Open: tr.Lookup(e.Link).Open}
		}
		p := filepath.Join(dir, e.Path)
		info, err := os.Lstat(p)
		if err == nil && (info.IsDir() || info.Mode().IsRegular()) {
			err = os.Chmod(p, 0o700) // an ordinary user could not look behind the dumped mode, nor remove it
		}
		switch {
		case err != nil:
			t.Errorf("not dumped: %v", err)
		case e.Type == tree.Dir && !info.IsDir():
			t.Errorf("%s: no folder", e.Path)
		case e.Type == tree.Symlink:
			if link, _ := os.Readlink(p); link != e.Link {
				t.Errorf("%s: link to %q, want %q", e.Path, link, e.Link)
			}
		case e.Type == tree.File && e.Open != nil:
			r, _ := e.Open()
			want, _ := io.ReadAll(r)
			if got, err := os.ReadFile(p); !bytes.Equal(got, want) {
				t.Errorf("%s: content differs (%v)", e.Path, err)
			}
		}
	}
}

func TestSample(t *testing.T) {
	img := image(t, sample(t), sized(200<<20))
	clean(t, img)
	for request, want := range map[string][]string{
		"stat etc/hello":                        {"Mode:  04751", "User: 70000", "Group: -294967296|Group: 4000000000", "Size: 6", "mtime: 0xfffeae80", "crtime: 0xfffeae80", "Links: 1"},
		"stat etc/odd":                          {"Links: 302", "Size: 12345670"},
		"stat etc/late":                         {"mtime: 0x2a05f200:00000001"},
		"stat many":                             {"Flags: 0x81000", "Links: 2"},
		"stat dev/big":                          {"Device major/minor number: 259:70000", "Type: block special"},
		"stat dev/pipe":                         {"Type: FIFO"},
		"ea_get xattr/ping security.capability": {"capability"},
		"ea_get xattr/several trusted.overlay.opaque": {`= "y"`},
		"ea_get xattr/large user.other":               {`= "w"`},
		"stat <8>":                                    {"Mode:  0600", "Size: 16777216"},
		"stat lost+found":                             {"Mode:  0700", "Size: 16384"},
		"dx_hash -h half_md4 -s 05060708-0000-0000-0000-000000000000 file-77": {fmt.Sprintf("0x%08x (minor 0x%08x)", hashOf("file-77"), minorOf("file-77"))},
	} {
		out := referee.Run(t, "debugfs", "-R", request, img)
		for _, w := range want {
			a, b, _ := strings.Cut(w, "|")
			if !strings.Contains(out, a) && (b == "" || !strings.Contains(out, b)) {
				t.Errorf("%s lacks %q:\n%.600s", request, w, out)
			}
		}
	}
	referee.Run(t, "resize2fs", img, "400M")
	clean(t, img)
	out := referee.Run(t, "dumpe2fs", img)
	if !strings.Contains(out, "Block count:              102400") || !strings.Contains(out, "BLOCK_UNINIT") {
		t.Errorf("dumpe2fs: %.3000s", out)
	}
}

func hashOf(name string) uint32  { major, _ := nameHash(options.HashSeed, name); return major }
func minorOf(name string) uint32 { _, minor := nameHash(options.HashSeed, name); return minor }

func TestRandomTrees(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			n := 10 << (seed % 9)
			tr := random(t, seed, n)
			o := options
			least, err := MinSize(tr, o)
			if err != nil {
				t.Fatal(err)
			}
			o.Size = least + int64(seed)*7_777_777
			o.BytesPerInode = int64(2048 << (seed % 5))
			img := image(t, tr, o)
			clean(t, img)
			compareDumped(t, tr, img)
		})
	}
}

// TestSizes writes small trees to file systems of many sizes, among them those with a short last group.
func TestSizes(t *testing.T) {
	tr := tree.New()
	put(t, tr, file("a/b", []byte("c")))
	for _, size := range []int64{
		16 << 20, 16<<20 + 4095, 33 << 20, 100<<20 + 12345, 128 << 20, 128<<20 + 4096, 130 << 20, 131 << 20, 140 << 20, 256<<20 - 4096,
		384<<20 + 8<<20, 2<<30 + 1<<20, 2<<30 + 40<<20, 9 << 30, 100 << 30, 3 << 40,
	} {
		growths := []int64{0, size, 8 << 40}
		if size > 1<<30 {
			growths = growths[2:] // to save time
		}
		for _, growTo := range growths {
			o := sized(size)
			o.GrowTo = growTo
			o.ReservedPercent = 5
			img := image(t, tr, o)
			clean(t, img)
			var st syscall.Stat_t
			if err := syscall.Stat(img, &st); err != nil || st.Blocks*512 > size/1000+10<<20 {
				t.Errorf("%d bytes were written for an empty file system of %d", st.Blocks*512, size)
			}
			os.Remove(img)
		}
	}
}

// TestLargeFile writes a file past 2 GiB, or of 5 GiB in the long tests, and reads it back through debugfs.
func TestLargeFile(t *testing.T) {
	const every = 5000
	size := int64(2<<30 + 40<<20 + 77)
	if os.Getenv("AGIBAKE_E2E") == "1" {
		size += 3 << 30
	}
	tr := tree.New()
	put(t, tr, patternFile("large", size, every))
	img := image(t, tr, sized(7<<30))
	clean(t, img)
	var st syscall.Stat_t
	if err := syscall.Stat(img, &st); err != nil || st.Blocks*512 > 64<<20 {
		t.Errorf("zeros were written: %d bytes are in use", st.Blocks*512)
	}
	debugfs := referee.Command(t, "debugfs", "-R", "cat large", img)
	got, err := debugfs.StdoutPipe()
	if err == nil {
		err = debugfs.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	want := &pattern{size: size, every: every}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(a)) {
		n, _ := io.ReadFull(got, a)
		m, _ := io.ReadFull(want, b)
		if !bytes.Equal(a[:n], b[:m]) {
			t.Errorf("content differs near byte %d", at)
			break
		}
	}
	if rest, err := io.Copy(io.Discard, got); rest > 0 || err != nil {
		t.Errorf("%d bytes too many (%v)", rest, err)
	}
	if err := debugfs.Wait(); err != nil {
		t.Error(err)
	}
}

// TestDeepExtentTree lays out files of so many extents that the tree has two levels of blocks; nothing reads content.
func TestDeepExtentTree(t *testing.T) {
	tr := tree.New()
	put(t, tr, patternFile("model", 300<<30, 1))
	put(t, tr, patternFile("other", 20<<30, 1))
	v, err := Plan(tr, sized(400<<30))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fs.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(400<<30), v.writeMeta(t.Context(), f)); err != nil {
		t.Fatal(err)
	}
	clean(t, path)
	if out := referee.Run(t, "debugfs", "-R", "ex model", path); !strings.Contains(out, " 2/ 2") {
		t.Errorf("the extent tree has no two levels: %.500s", out)
	}
}

// TestWideFolder needs an index of two levels.
func TestWideFolder(t *testing.T) {
	tr := tree.New()
	long := strings.Repeat("w", 240)
	for i := range 9000 {
		put(t, tr, tree.Entry{Path: fmt.Sprintf("wide/%s%d", long, i), Type: tree.Fifo})
	}
	img := image(t, tr, sized(256<<20))
	clean(t, img)
	if out := referee.Run(t, "debugfs", "-R", "htree_dump wide", img); !strings.Contains(out, "Indirect levels: 1") {
		t.Errorf("the index has no two levels: %.500s", out)
	}
	if out := referee.Run(t, "debugfs", "-R", "ls -p wide", img); strings.Count(out, long) != 9000 {
		t.Error("names are missing")
	}
}

func TestManySubfolders(t *testing.T) {
	tr := tree.New()
	for i := range 65_010 {
		put(t, tr, tree.Entry{Path: fmt.Sprintf("d/%d", i), Type: tree.Dir, Mode: 0o755})
	}
	clean(t, image(t, tr, sized(2<<30)))
}

func TestSameBytes(t *testing.T) {
	write := func(procs int) []byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		data, err := os.ReadFile(image(t, sample(t), sized(80<<20)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(write(1), write(4)) {
		t.Error("one and four processors give different bytes")
	}
}

func TestRefused(t *testing.T) {
	entry := func(e tree.Entry) *tree.Tree {
		tr := tree.New()
		if err := tr.Put(e); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	ok := tree.New()
	large := file("f", nil)
	large.Size, large.Open = 1<<30, func() (io.ReadCloser, error) { return nil, errors.New("was read") }
	for want, c := range map[string]struct {
		tree *tree.Tree
		o    Options
	}{
		"1073741824 bytes (1024 MiB) are available": {entry(func() tree.Entry { e := large; e.Size = 2 << 30; return e }()), sized(1 << 30)},
		"name is longer":           {entry(tree.Entry{Path: strings.Repeat("x", 256)}), sized(64 << 20)},
		"folder is missing":        {entry(tree.Entry{Path: "a/b"}), sized(64 << 20)},
		"which is missing":         {entry(tree.Entry{Path: "a", Type: tree.Hardlink, Link: "b"}), sized(64 << 20)},
		"leads in a circle":        {entry(tree.Entry{Path: "a", Type: tree.Hardlink, Link: "a"}), sized(64 << 20)},
		"which is a folder":        {entry(tree.Entry{Path: "a", Type: tree.Hardlink, Link: "."}), sized(64 << 20)},
		"out of range":             {entry(tree.Entry{Path: "a", UID: -1}), sized(64 << 20)},
		"without content":          {entry(tree.Entry{Path: "a", Size: 1}), sized(64 << 20)},
		"unknown bits":             {entry(tree.Entry{Path: "a", Mode: 0o100644}), sized(64 << 20)},
		"no such name":             {entry(tree.Entry{Path: "a", Xattrs: map[string]string{"btrfs.x": ""}}), sized(64 << 20)},
		"malformed access control": {entry(tree.Entry{Path: "a", Xattrs: map[string]string{"system.posix_acl_access": "x"}}), sized(64 << 20)},
		"more than one block":      {entry(tree.Entry{Path: "a", Xattrs: map[string]string{"user.x": strings.Repeat("x", 4096)}}), sized(64 << 20)},
		"link text of 0 bytes":     {entry(tree.Entry{Path: "a", Type: tree.Symlink}), sized(64 << 20)},
		"below the least":          {ok, sized(1 << 20)},
		"above the most":           {ok, sized(17 << 40)},
		"longer than 16":           {ok, Options{Label: "seventeen letters", Size: 64 << 20}},
	} {
		err := Write(t.Context(), nil, c.tree, c.o, nil)
		if err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Input {
			t.Errorf("%s: kind %d: %v", want, fault.KindOf(err), err)
		}
	}
}

// TestStatedSize refuses content that is not as long as its entry says.
func TestStatedSize(t *testing.T) {
	for _, length := range []int{0, 99, 101, 5000} {
		tr := tree.New()
		e := file("f", make([]byte, length))
		e.Size = 100
		put(t, tr, e)
		f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(t.Context(), f, tr, sized(64<<20), nil); err == nil || !strings.Contains(err.Error(), "stated size") {
			t.Errorf("%d bytes of 100: %v", length, err)
		}
		f.Close()
	}
}

func TestCancelAndProgress(t *testing.T) {
	tr := tree.New()
	put(t, tr, patternFile("f", 100<<20, 1))
	ctx, cancel := context.WithCancel(t.Context())
	var last progress.Event
	stop := int64(50 << 20)
	report := func(e progress.Event) {
		if last = e; e.Done >= stop {
			cancel()
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(ctx, f, tr, sized(200<<20), report); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled write: %v", err)
	}
	stop = 1 << 40
	if err := Write(t.Context(), f, tr, sized(200<<20), report); err != nil || !last.End || last.Done != 100<<20 || last.Stage != "disk" {
		t.Errorf("last event %+v, %v", last, err)
	}
}
