package state

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// TestHostileTrees: a tree that would write elsewhere, or something else than files, is refused by its text.
func TestHostileTrees(t *testing.T) {
	for name, change := range map[string]func(*forgery){
		"above":                   func(f *forgery) { f.add(emptyFile("../evil")) },
		"above from within":       func(f *forgery) { f.add(emptyFile("memory/../../evil")) },
		"the folder above":        func(f *forgery) { f.add(Entry{Path: "..", Kind: Dir, Mode: 0o755, Records: -1}) },
		"absolute":                func(f *forgery) { f.add(emptyFile("/tmp/evil")) },
		"a zero byte":             func(f *forgery) { f.add(emptyFile("memory/a\x00b")) },
		"a dot":                   func(f *forgery) { f.add(emptyFile("memory/./evil")) },
		"no folder":               func(f *forgery) { f.add(emptyFile("memory/none/evil")) },
		"a long name":             func(f *forgery) { f.add(emptyFile(strings.Repeat("x", 256))) },
		"a long path":             func(f *forgery) { f.add(emptyFile(strings.Repeat("x/", 3000) + "x")) },
		"twice":                   func(f *forgery) { f.add(*f.entry("boot/startup.txt")) },
		"out of order":            func(f *forgery) { slices.Reverse(f.tree.Entries) },
		"below a file":            func(f *forgery) { f.add(emptyFile("boot/startup.txt/evil")) },
		"below a link":            func(f *forgery) { f.add(link("memory/a", "empty"), emptyFile("memory/a/evil")) },
		"below a link to outside": func(f *forgery) { f.add(link("memory/a", "../.."), emptyFile("memory/a/evil")) },
		"an absolute link":        func(f *forgery) { f.add(link("memory/a", "/etc")) },
		"a link above":            func(f *forgery) { f.add(link("memory/a", "../../etc")) },
		"a link to nothing":       func(f *forgery) { f.add(link("memory/a", "")) },
		"a link through a name":   func(f *forgery) { f.add(link("memory/a", "../models/pair/../../../etc")) },
		// "..." is a name like any other: lexically it takes the ".." away, while as a link to "." it does not.
		"a link through dots":   func(f *forgery) { f.add(link("...", "."), link("a", ".../../etc")) },
		"a link through links":  func(f *forgery) { f.add(link("a", "memory/empty"), link("b", "a/../../../etc")) },
		"set user id":           func(f *forgery) { f.entry("boot/startup.txt").Mode = 0o4755 },
		"a huge mode":           func(f *forgery) { f.entry("boot/startup.txt").Mode = math.MaxUint32 },
		"a device":              func(f *forgery) { f.entry("boot/startup.txt").Kind = 'b' },
		"a pipe":                func(f *forgery) { f.entry("boot/startup.txt").Kind = 'p' },
		"a folder with content": func(f *forgery) { f.entry("memory/big.dat").Kind = Dir },
		"a file that grew":      func(f *forgery) { f.entry("memory/big.dat").Size++ },
		"a file that shrank":    func(f *forgery) { f.entry("memory/big.dat").Size-- },
		"a negative file":       func(f *forgery) { f.entry("logs/empty.jsonl").Size = -1 },
		"an endless file":       func(f *forgery) { f.entry("memory/big.dat").Size = math.MaxInt64 },
		"negative records":      func(f *forgery) { f.entry("memory/notes.jsonl").Records = -2 },
		"a sum of nothing":      func(f *forgery) { f.entry("logs/empty.jsonl").Sum = Sum{} },
		"a sum of something":    func(f *forgery) { f.entry("boot/startup.txt").Sum = Sum{1} },
		"pieces that cancel out": func(f *forgery) {
			p := f.entry("memory/big.dat").Pieces
			p[0].Size, p[1].Size = -p[0].Size, p[1].Size+2*p[0].Size
		},
		"another form":   func(f *forgery) { f.rawTree = replaced(f.tree.Encode(), "d 0", "d 00") },
		"escaped letter": func(f *forgery) { f.rawTree = replaced(f.tree.Encode(), "startup", `st\0141rtup`) },
		"cut":            func(f *forgery) { f.rawTree = f.tree.Encode()[:200] },
		"no head":        func(f *forgery) { f.rawTree = f.tree.Encode()[1:] },
		"a bomb":         func(f *forgery) { f.rawTree = make([]byte, maxTree+2) },
		"too many": func(f *forgery) {
			f.rawTree = slices.Concat([]byte(treeHead), bytes.Repeat([]byte("d 0755 0 0 a\n"), maxEntries+1))
		},
	} {
		forged(t, name, change)
	}
}

// TestHostileSnapshots: parts that contradict each other.
func TestHostileSnapshots(t *testing.T) {
	for name, change := range map[string]func(*forgery){
		"another tree":           func(f *forgery) { f.keepInfo = true; f.entry("boot/startup.txt").Mode = 0o644 },
		"index: another tree":    func(f *forgery) { f.keepInfo = true; f.index.Annotations[AnnotationTree] = sumOf(nil).String() },
		"index: no tree":         func(f *forgery) { delete(f.index.Annotations, AnnotationTree) },
		"index: another time":    func(f *forgery) { f.index.Annotations[v1.AnnotationCreated] = "2020-01-01T00:00:00Z" },
		"index: another parent":  func(f *forgery) { f.index.Annotations[AnnotationParent] = digest.FromString("x").String() },
		"index: sealed":          func(f *forgery) { f.index.Annotations[AnnotationSealed] = "true" },
		"manifest: sealed":       func(f *forgery) { f.own.Config.MediaType += sealed },
		"manifest: another type": func(f *forgery) { f.own.ArtifactType = TypeModel },
		"index: another's manifest first": func(f *forgery) {
			var other v1.Index
			f.load(f.other, &other)
			f.index.Manifests = append(other.Manifests[:1], f.index.Manifests...)
			f.index.Manifests[1].ArtifactType = ""
		},
		"index: another's manifest too": func(f *forgery) {
			var other v1.Index
			f.load(f.other, &other)
			f.index.Manifests = append(f.index.Manifests, other.Manifests[0])
		},
		"index: an index":   func(f *forgery) { f.index.Manifests = append(f.index.Manifests, f.other) },
		"index: model only": func(f *forgery) { f.index.Manifests = f.index.Manifests[1:] },
		"index: no models":  func(f *forgery) { f.index.Manifests = f.index.Manifests[:1] },
		"index: large parts": func(f *forgery) {
			d := f.index.Manifests[1]
			for range maxManifests/int(d.Size) + 1 {
				f.index.Manifests = append(f.index.Manifests, d)
			}
		},
		"info: huge":          func(f *forgery) { f.info.Note = strings.Repeat("x", maxInfo) },
		"info: bytes":         func(f *forgery) { f.keepInfo = true; f.info.Bytes++ },
		"info: files":         func(f *forgery) { f.keepInfo = true; f.info.Files-- },
		"info: records":       func(f *forgery) { f.keepInfo = true; f.info.Records = -1 },
		"info: unknown":       func(f *forgery) { f.rawInfo = []byte(`{"evil":1}`) },
		"info: not JSON":      func(f *forgery) { f.rawInfo = []byte("x") },
		"info: continued":     func(f *forgery) { f.rawInfo = []byte("{}}") },
		"no contents":         func(f *forgery) { f.own.Layers = f.own.Layers[:1] },
		"two trees":           func(f *forgery) { f.own.Layers = append(f.own.Layers, f.own.Layers[0]) },
		"contents: a blob":    func(f *forgery) { f.contents.Blobs[0].Digest = digest.FromString("x") },
		"contents: its size":  func(f *forgery) { f.contents.Blobs[0].Size++ },
		"contents: no blobs":  func(f *forgery) { f.contents.Blobs = nil },
		"contents: no pieces": func(f *forgery) { f.contents.Blobs[0].Pieces = nil },
		"contents: too large": func(f *forgery) { f.packed().Pieces[0].Size = maxPackRaw + 1 },
		"contents: two sizes of a piece": func(f *forgery) {
			p := f.packed().Pieces[0]
			f.raw().Pieces, p.Size = []Piece{p}, p.Size+1
			f.raw().Packed = true
			f.packed().Pieces[0].Size++
		},
		"contents: another piece": func(f *forgery) { f.raw().Pieces[0].Sum = f.packed().Pieces[0].Sum },
		"pack: order": func(f *forgery) {
			p := f.packed().Pieces
			p[0], p[1] = p[1], p[0]
		},
		"pack: one less": func(f *forgery) {
			b := f.packed()
			f.drop(b.Pieces[len(b.Pieces)-1].Sum)
			b.Pieces = b.Pieces[:len(b.Pieces)-1]
		},
		"pack: a raw one": func(f *forgery) { f.raw().Packed = true },
		"blobs swapped": func(f *forgery) {
			a, b := f.raw(), f.packed()
			a.Digest, a.Size, b.Digest, b.Size = b.Digest, b.Size, a.Digest, a.Size
		},
	} {
		forged(t, name, change)
	}
}

func (f *forgery) packed() *Blob { return f.first(true) }
func (f *forgery) raw() *Blob    { return f.first(false) }
func (f *forgery) first(packed bool) *Blob {
	i := slices.IndexFunc(f.contents.Blobs, func(b Blob) bool { return b.Packed == packed })
	return &f.contents.Blobs[i]
}

// drop removes the entries that need a piece.
func (f *forgery) drop(s Sum) {
	f.tree.Entries = slices.DeleteFunc(f.tree.Entries, func(e Entry) bool {
		return slices.ContainsFunc(e.Pieces, func(p Piece) bool { return p.Sum == s })
	})
}

func forged(t *testing.T, name string, change func(*forgery)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		l, d, other := sample(t)
		f := forge(t, l, d, other)
		change(f)
		root, err := use(t, l, f.store())
		refused(t, root, err)
	})
}

// sample is a layout of its own with two snapshots.
var samples = sampleOnce()

func sample(t testing.TB) (l *layoutOf, d, other v1.Descriptor) {
	dir := samples(t)
	to := filepath.Join(t.TempDir(), "layout")
	fatal(t, os.CopyFS(to, os.DirFS(dir)))
	return opened(t, to)
}

// TestForgeryIsGood: what is put together without a change is accepted, so that the others are refused for their change.
func TestForgeryIsGood(t *testing.T) {
	l, d, other := sample(t)
	root, err := use(t, l, forge(t, l, d, other).store())
	fatal(t, err)
	if _, err := os.Stat(filepath.Join(root, "boot/startup.txt")); err != nil {
		t.Error(err)
	}
}

// TestDamage: no changed bit of a blob gets past verify, wherever it is, nor one too many or too few.
func TestDamage(t *testing.T) {
	l, d, _ := sample(t)
	dir := filepath.Dir(mustPath(t, l, d.Digest))
	x, err := Read(t.Context(), l, d, nil)
	fatal(t, err)
	for _, b := range []Blob{x.Contents.Blobs[0], x.Contents.Blobs[len(x.Contents.Blobs)-1]} {
		path := filepath.Join(dir, b.Digest.Encoded())
		good, err := os.ReadFile(path)
		fatal(t, err)
		flip := func(i int) []byte { c := bytes.Clone(good); c[i] ^= 1; return c }
		for name, bad := range map[string][]byte{
			"the first byte": flip(0), "the middle": flip(len(good) / 2), "near the end": flip(len(good) - 5), "the last byte": flip(len(good) - 1),
			"one less": good[:len(good)-1], "one more": append(bytes.Clone(good), 0), "nothing": nil,
		} {
			fatal(t, os.WriteFile(path, bad, 0o644))
			if _, err := x.Verify(t.Context(), l, nil); fault.KindOf(err) != fault.Untrusted {
				t.Errorf("verify: %v", err)
			}
			root, err := use(t, l, d)
			if name != "one more" || b.Packed { // what follows a piece is not used
				refused(t, root, err)
			}
			if t.Failed() {
				t.Fatalf("%s of %s, packed: %v", name, b.Digest, b.Packed)
			}
		}
		fatal(t, os.WriteFile(path, good, 0o644))
	}
}
