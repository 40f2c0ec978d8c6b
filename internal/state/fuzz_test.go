package state

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/agibake/agibake/internal/fault"
)

// seeds are the documents of a real snapshot, and small ones that are good but for one thing.
func seeds(f *testing.F, of func(*Snapshot) []byte, more ...string) {
	l, d, _ := sample(f)
	x, err := Read(f.Context(), l, d, nil)
	fatal(f, err)
	good := of(x)
	for _, seed := range [][]byte{good, good[:len(good)-1], good[:len(good)/2], append(bytes.Clone(good), '\n'), nil} {
		f.Add(seed)
	}
	for _, seed := range more {
		f.Add([]byte(seed))
	}
}

// FuzzTree: what is accepted is what Encode writes, and safe to create below a folder.
func FuzzTree(f *testing.F) {
	sum := sumOf(nil).String()
	seeds(f, func(x *Snapshot) []byte { return x.Tree.Encode() }, treeHead, treeHead+"d 0755 0 0 a\nl 0777 0 0 a/b\nt ../c\n",
		treeHead+"l 0777 0 0 ...\nt .\nl 0777 0 0 l\nt .../../x\n", treeHead+`f 0644 0 0 0 `+sum+` -1 \0040a\0134\0377\n`+"\n",
		treeHead+"f 0644 0 0 1 "+sum+" 0 a\np 1 "+sum+"\n", treeHead+"f +644 -0 0 9223372036854775807 "+sum+" 0 a\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := DecodeTree(data)
		if err != nil {
			if x != nil || fault.KindOf(err) != fault.Untrusted || len(err.Error()) > 2000 {
				t.Fatalf("%v, %v", x, err)
			}
			return
		}
		if !bytes.Equal(x.Encode(), data) {
			t.Fatalf("it was accepted and is written as %q", x.Encode())
		}
		if why := unsafePaths(x); why != "" {
			t.Fatal(why)
		}
	})
}

// unsafePaths follows all links as a kernel would, and tells of one that leaves the state.
func unsafePaths(x *Tree) string {
	links := map[string]string{}
	for _, e := range x.Entries {
		if e.Kind == Link {
			links[e.Path] = e.Target
		}
	}
	for p := range links {
		if walksOut(links, p) {
			return fmt.Sprintf("%q leads out of the state", p)
		}
	}
	return ""
}

func walksOut(links map[string]string, p string) bool {
	var at []string // where we are, below the state
	rest := split(p)
	for steps := 0; len(rest) > 0 && steps < 200; steps++ {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
		default:
			if to, ok := links[join(at, name)]; ok {
				rest = append(split(to), rest...)
			} else {
				at = append(at, name)
			}
		}
	}
	return false
}

func split(p string) (list []string) {
	for part := range bytes.SplitSeq([]byte(p), []byte("/")) {
		list = append(list, string(part))
	}
	return list
}

func join(at []string, name string) string {
	p := ""
	for _, a := range at {
		p += a + "/"
	}
	return p + name
}

// FuzzContents: what is accepted is what Encode writes.
func FuzzContents(f *testing.F) {
	sum := sumOf(nil).String()
	seeds(f, func(x *Snapshot) []byte { return x.Contents.Encode() }, contentsHead, contentsHead+"b 5 "+sum+" raw\np 5 "+sum+"\n",
		contentsHead+"b 5 "+sum+" pack\np 5 "+sum+"\np 7 "+sum+"\n", contentsHead+"b 5 "+sum+" row\np 5 "+sum+"\n", contentsHead+"p 5 "+sum+"\n",
		contentsHead+"b 5 "+sum+" pack\np 9223372036854775806 "+sum+"\np 9223372036854775806 "+sum+"\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := DecodeContents(data)
		if err != nil {
			if x != nil || fault.KindOf(err) != fault.Untrusted || len(err.Error()) > 2000 {
				t.Fatalf("%v, %v", x, err)
			}
			return
		}
		if !bytes.Equal(x.Encode(), data) {
			t.Fatalf("it was accepted and is written as %q", x.Encode())
		}
		for _, b := range x.Blobs {
			if n := b.raw(); n <= 0 || n > maxPackRaw {
				t.Fatalf("a blob of %d bytes", n)
			}
		}
	})
}

// FuzzEscape: every text comes back, on one line without control characters.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", " ", "a b", " a ", "\\", "\n", "\x00", "\xff\xfe", "\ufffd", "странное имя\\\n", "-rf", `\0101`, "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		back, ok := unescape(e)
		if !ok || back != s || bytes.ContainsFunc([]byte(e), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q became %q and %q", s, e, back)
		}
	})
}

// FuzzPack: what a pack gives out is right, whatever it is.
func FuzzPack(f *testing.F) {
	l, d, _ := sample(f)
	x, err := Read(f.Context(), l, d, nil)
	fatal(f, err)
	one, two := []byte("alpha"), []byte("beta")
	b := &Blob{Digest: d.Digest, Packed: true, Pieces: []Piece{{sumOf(one), 5}, {sumOf(two), 4}}}
	made := layout(f)
	p := newPacker(f.Context(), made, nil)
	fatal(f, p.add(b.Pieces[0], one))
	fatal(f, p.add(b.Pieces[1], two))
	packs, err := p.finish(nil)
	fatal(f, err)
	in, err := made.Blob(f.Context(), packs[0].descriptor(), 0)
	fatal(f, err)
	defer in.Close()
	var raw bytes.Buffer
	_, err = raw.ReadFrom(in)
	fatal(f, err)
	f.Add(raw.Bytes())
	f.Add(raw.Bytes()[:raw.Len()-3])
	f.Add(zstdOf(f, x.Tree.Encode()))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := readPack(bytes.NewReader(data), b, newBuffers(), func(Piece) bool { return true }, func(p Piece, data []byte) error {
			if n++; sumOf(data) != p.Sum {
				t.Error("a piece that is not what it should be")
			}
			return nil
		})
		if err == nil && n != len(b.Pieces) || err != nil && fault.KindOf(err) != fault.Untrusted {
			t.Errorf("%d pieces, %v", n, err)
		}
	})
}
