package fat

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/tree"
)

// scan turns t into nodes, each with a name that is unique in its folder whatever the case.
func (v *Volume) scan(t *tree.Tree) error {
	byPath := map[string]*node{}
	total := int64(0)
	for _, e := range t.Entries() {
		if err := check(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if total += e.Size; total > v.o.Size {
			return fmt.Errorf("the files need more than %d bytes", v.o.Size)
		}
		n := &node{entry: e, name: path.Base(e.Path)}
		byPath[e.Path] = n
		if e.Path == "." {
			v.root = n
			continue
		}
		if n.parent = byPath[path.Dir(e.Path)]; n.parent == nil || !n.parent.isDir() {
			return fmt.Errorf("%s: its folder is missing", e.Path)
		}
		n.parent.children = append(n.parent.children, n)
		v.files = append(v.files, n)
	}
	for _, n := range byPath {
		if err := n.nameChildren(); err != nil {
			return fmt.Errorf("%s: %w", n.entry.Path, err)
		}
	}
	return nil
}

func check(e *tree.Entry) error {
	name := path.Base(e.Path)
	switch {
	case e.Type != tree.File && e.Type != tree.Dir:
		return errors.New("FAT holds only files and folders")
	case e.Size < 0 || e.Size >= 1<<32:
		return fmt.Errorf("size of %d bytes is out of range", e.Size)
	case e.Size > 0 && e.Open == nil:
		return errors.New("no content")
	case e.Path == ".":
		return nil
	case !utf8.ValidString(name) || len(utf16.Encode([]rune(name))) > 255:
		return errors.New("name is not UTF-8 of at most 255 characters")
	case strings.ContainsAny(name, "\"*/:<>?\\|") || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return errors.New("name has a character that FAT cannot hold")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("name has a control character")
	}
	return nil
}

// nameChildren gives each child a short name (section 7): its own if it is one already, else one with a number.
func (n *node) nameChildren() error {
	folded := map[string]string{}
	taken := map[[11]byte]bool{}
	for _, c := range n.children {
		key := strings.ToUpper(c.name)
		if other, dup := folded[key]; dup {
			return fmt.Errorf("%s and %s differ only in case", other, c.name)
		}
		folded[key] = c.name
		base, ext := shorten(c.name)
		c.short = pack(base, ext)
		c.long = unpack(c.short) != c.name
		if !c.long {
			taken[c.short] = true
		}
	}
	for _, c := range n.children {
		if !c.long {
			continue
		}
		base, ext := shorten(c.name)
		// A name that differs from its short form in case only keeps that form, if it is free.
		exact := strings.EqualFold(unpack(c.short), c.name)
		for i := 1; !exact || taken[c.short]; i++ {
			tail := fmt.Sprintf("~%d", i)
			c.short, exact = pack(base[:min(len(base), 8-len(tail))]+tail, ext), true
		}
		taken[c.short] = true
	}
	return nil
}

// shorten returns the characters of a name that a short name may have, upper-case.
func shorten(name string) (base, ext string) {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '.':
				return -1
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r > 0x7e || strings.ContainsRune("+,;=[]", r):
				return '_'
			}
			return r
		}, s)
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name, ext = name[:i], clean(name[i+1:])
	}
	base = clean(name)
	return base, ext[:min(3, len(ext))]
}

func pack(base, ext string) (short [11]byte) {
	copy(short[:], "           ")
	copy(short[:8], base)
	copy(short[8:], ext)
	return short
}

func unpack(short [11]byte) string {
	base, ext := strings.TrimRight(string(short[:8]), " "), strings.TrimRight(string(short[8:]), " ")
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// longEntries returns the entries that carry a long name, in the order of the disk (section 7.2).
func longEntries(name string, short [11]byte) []byte {
	const perEntry = 13
	var sum uint8
	for _, b := range short {
		sum = sum>>1 | sum<<7
		sum += b
	}
	units := utf16.Encode([]rune(name))
	if len(units)%perEntry != 0 {
		units = append(units, 0)
		for len(units)%perEntry != 0 {
			units = append(units, 0xFFFF)
		}
	}
	var out []byte
	last := len(units) / perEntry
	parts := slices.Collect(slices.Chunk(units, perEntry))
	for i := last; i > 0; i-- {
		e := make([]byte, 32)
		e[0], e[11], e[13] = uint8(i), 0x0F, sum
		if i == last {
			e[0] |= 0x40
		}
		for j, u := range parts[i-1] {
			le.PutUint16(e[[perEntry]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}[j]:], u)
		}
		out = append(out, e...)
	}
	return out
}
