package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/tree"
)

const when = 1_700_000_000

var options = Options{Label: "test", UUID: [16]byte{1, 2, 3, 4}, HashSeed: [16]byte{5, 6, 7, 8}, Time: when}

func sized(size int64) Options {
	o := options
	o.Size = size
	return o
}

func put(t testing.TB, tr *tree.Tree, e tree.Entry) {
	t.Helper()
	if err := tr.MkdirAll(path.Dir(e.Path), when); err != nil {
		t.Fatal(err)
	}
	if err := tr.Put(e); err != nil {
		t.Fatal(err)
	}
}

func file(name string, content []byte) tree.Entry {
	return tree.Entry{Path: name, Mode: 0o644, ModTime: when, Size: int64(len(content)), Open: tree.Bytes(content)}
}

// sample holds one of everything.
func sample(t testing.TB) *tree.Tree {
	tr := tree.New()
	put(t, tr, tree.Entry{Path: ".", Type: tree.Dir, Mode: 0o755, ModTime: when - 5})
	text := file("etc/hello", []byte("hello\n"))
	text.Mode, text.UID, text.GID, text.ModTime = 0o4751, 70000, 4_000_000_000, -86400
	put(t, tr, text)
	late := file("etc/late", bytes.Repeat([]byte("x"), 4096))
	late.ModTime = 5_000_000_000 // the year 2128
	put(t, tr, late)
	put(t, tr, file("etc/empty", nil))
	put(t, tr, file("etc/odd", bytes.Repeat([]byte("0123456789"), 1_234_567)))
	put(t, tr, file("etc/zeros", make([]byte, 3<<20+17)))
	put(t, tr, tree.Entry{Path: "tmp", Type: tree.Dir, Mode: 0o1777, ModTime: when})
	put(t, tr, tree.Entry{Path: "link/short", Type: tree.Symlink, Mode: 0o777, ModTime: when, Link: "../etc/hello"})
	for _, n := range []int{59, 60, 61, 4095} {
		put(t, tr, tree.Entry{Path: fmt.Sprintf("link/%d", n), Type: tree.Symlink, Mode: 0o777, ModTime: when, Link: strings.Repeat("l", n)})
	}
	put(t, tr, tree.Entry{Path: "dev/null", Type: tree.Char, Mode: 0o666, ModTime: when, Major: 1, Minor: 3})
	put(t, tr, tree.Entry{Path: "dev/big", Type: tree.Block, Mode: 0o660, ModTime: when, Major: 259, Minor: 70000})
	put(t, tr, tree.Entry{Path: "dev/pipe", Type: tree.Fifo, Mode: 0o600, ModTime: when})
	for i := range 300 {
		put(t, tr, tree.Entry{Path: fmt.Sprintf("hard/%03d", i), Type: tree.Hardlink, Link: "etc/odd"})
	}
	put(t, tr, tree.Entry{Path: "a-link-that-comes-first", Type: tree.Hardlink, Link: "hard/000"})
	put(t, tr, file(strings.Repeat("n", 255), []byte("long name")))
	put(t, tr, file("Кто ты?/Сайга", []byte("high bytes")))
	put(t, tr, file(strings.Repeat("deep/", 400)+"end", []byte("bottom")))
	for i := range 5000 {
		put(t, tr, file(fmt.Sprintf("many/file-%d", i), nil))
	}
	attributes(t, tr)
	return tr
}

func attributes(t testing.TB, tr *tree.Tree) {
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	acl := le.AppendUint32(nil, 2)
	for _, e := range [][2]uint32{{1, 7}, {2, 6}, {4, 5}, {16, 7}, {32, 4}} { // owner, named user, group, mask, others
		acl = le.AppendUint16(le.AppendUint16(acl, uint16(e[0])), uint16(e[1]))
		id := uint32(0xFFFFFFFF)
		if e[0] == 2 {
			id = 1000
		}
		acl = le.AppendUint32(acl, id)
	}
	for name, x := range map[string]map[string]string{
		"ping":     {"security.capability": capability},
		"empty":    {"user.empty": ""},
		"several":  {"user.b": "2", "user.a": "1", "trusted.overlay.opaque": "y", "security.selinux": "label\x00"},
		"large":    {"user.large": strings.Repeat("v", 3900), "user.other": "w"},
		"acl":      {"system.posix_acl_access": string(acl)},
		"dir/file": nil,
	} {
		e := file("xattr/"+name, []byte(name))
		e.Mode, e.Xattrs = 0o754, x
		put(t, tr, e)
	}
	put(t, tr, tree.Entry{Path: "xattr/dir", Type: tree.Dir, Mode: 0o754, ModTime: when, Xattrs: map[string]string{
		"system.posix_acl_default": string(acl), "trusted.overlay.opaque": "y"}})
}

// pattern is a file whose blocks of 4096 bytes each begin with their number and are zero otherwise; of those whose
// number is no multiple of every, all is zero.
type pattern struct{ size, every, at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.size {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.size-p.at)]
	clear(b)
	for block := (p.at + blockSize - 1) / blockSize; block*blockSize+8 <= p.at+int64(len(b)); block++ {
		if block%p.every == 0 {
			binary.LittleEndian.PutUint64(b[block*blockSize-p.at:], uint64(block)+1)
		}
	}
	p.at += int64(len(b))
	return len(b), nil
}

func patternFile(name string, size, every int64) tree.Entry {
	return tree.Entry{Path: name, Mode: 0o644, ModTime: when, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(&pattern{size: size, every: every}), nil
	}}
}

// random returns a tree of n entries that depends on seed alone.
func random(t testing.TB, seed uint64, n int) *tree.Tree {
	r := rand.New(rand.NewPCG(seed, 1))
	tr := tree.New()
	dirs, files := []string{"."}, []string{}
	for i := range n {
		letters := []rune("abcdefghijklmnopqrstuvwxyz-_. éя")
		name := make([]rune, 1+r.IntN(1+r.IntN(120)))
		for j := range name {
			name[j] = letters[r.IntN(len(letters))]
		}
		p := path.Join(dirs[len(dirs)-1-r.IntN(min(len(dirs), 6))], fmt.Sprintf("%s%d", string(name), i))
		e := tree.Entry{Path: p, Mode: uint32(r.IntN(0o10000)), UID: r.IntN(1 << 31), GID: r.IntN(1000), ModTime: r.Int64N(1 << 32)}
		switch k := r.IntN(20); {
		case k < 2 && strings.Count(p, "/") < 15:
			e.Type = tree.Dir
			dirs = append(dirs, p)
		case k == 2:
			e.Type, e.Link = tree.Symlink, strings.Repeat("t", 1+r.IntN(120))
		case k == 3 && len(files) > 0:
			e = tree.Entry{Path: p, Type: tree.Hardlink, Link: files[r.IntN(len(files))]}
		default:
			data := make([]byte, r.IntN(1+r.IntN(1<<r.IntN(18))))
			for j := range data {
				data[j] = byte(r.Uint32())
			}
			e.Size, e.Open = int64(len(data)), tree.Bytes(data)
			if r.IntN(8) == 0 {
				e.Xattrs = map[string]string{fmt.Sprintf("user.%d", i): strings.Repeat("v", r.IntN(300)), "trusted.t": "1"}
			}
			files = append(files, p)
		}
		if err := tr.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}
