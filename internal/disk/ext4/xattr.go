package ext4

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Extended attributes (kernel documentation, "Extended Attributes").
const (
	xattrMagic = 0xEA020000
	extraSize  = 32                          // bytes of the inode behind the classic 128
	bodyRoom   = inodeSize - 128 - extraSize // for attributes in the inode
	headerSize = 32                          // of an attribute block
)

// xattr is an attribute in its on-disk form.
type xattr struct {
	index uint8 // stands for the name's prefix
	name  string
	value []byte
}

func (x xattr) entrySize() int { return 16 + roundUp4(len(x.name)) }
func (x xattr) size() int      { return x.entrySize() + roundUp4(len(x.value)) }

func roundUp4(n int) int { return (n + 3) &^ 3 }

// placeXattrs puts the attributes of n in the inode where they fit, else in a block.
func (v *Volume) placeXattrs(n *node) error {
	if len(n.entry.Xattrs) == 0 {
		return nil
	}
	list, size, err := diskXattrs(n.entry.Xattrs)
	if err != nil {
		return err
	}
	if 4+size+4 <= bodyRoom {
		n.inBody = make([]byte, bodyRoom)
		le.PutUint32(n.inBody, xattrMagic)
		putXattrs(n.inBody[4:], 0, list, false)
		return nil
	}
	if headerSize+size+4 > blockSize {
		return fmt.Errorf("extended attributes of %d bytes are more than one block holds", size)
	}
	b := make([]byte, blockSize)
	le.PutUint32(b[0:], xattrMagic)
	le.PutUint32(b[4:], 1) // references
	le.PutUint32(b[8:], 1) // blocks
	le.PutUint32(b[12:], putXattrs(b, headerSize, list, true))
	at := v.a.one()
	le.PutUint32(b[16:], crc(crc(v.seed, le.AppendUint64(nil, at)), b))
	n.acl = &metaBlock{at, b}
	n.blocks++
	return nil
}

// diskXattrs sorts attributes as the kernel searches them and returns their size in all.
func diskXattrs(attrs map[string]string) (list []xattr, size int, err error) {
	for name, value := range attrs {
		x, err := diskXattr(name, value)
		if err != nil {
			return nil, 0, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		list = append(list, x)
		size += x.size()
	}
	slices.SortFunc(list, func(a, b xattr) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return strings.Compare(a.name, b.name)
	})
	return list, size, nil
}

func diskXattr(name, value string) (xattr, error) {
	switch name {
	case "system.posix_acl_access", "system.posix_acl_default":
		acl, err := diskACL([]byte(value))
		return xattr{map[bool]uint8{true: 2, false: 3}[name == "system.posix_acl_access"], "", acl}, err
	}
	for _, p := range []struct {
		index  uint8
		prefix string
	}{{1, "user."}, {4, "trusted."}, {6, "security."}} {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok && rest != "" && len(rest) <= 255 {
			return xattr{p.index, rest, []byte(value)}, nil
		}
	}
	return xattr{}, errors.New("ext4 has no such name")
}

// diskACL turns the system call's form of an access control list (version 2, 8 bytes an entry) into ext4's (version 1,
// where only named users and groups carry an id).
func diskACL(v []byte) ([]byte, error) {
	const (
		namedUser  = 0x02
		namedGroup = 0x08
	)
	if len(v) < 4 || le.Uint32(v) != 2 || len(v)%8 != 4 {
		return nil, errors.New("malformed access control list")
	}
	out := le.AppendUint32(nil, 1)
	for v = v[4:]; len(v) > 0; v = v[8:] {
		out = append(out, v[:4]...)
		if tag := le.Uint16(v); tag == namedUser || tag == namedGroup {
			out = append(out, v[4:8]...)
		}
	}
	return out, nil
}

// putXattrs writes entries from offset at on and values from the end of b back. With hashes it returns the block's hash.
func putXattrs(b []byte, at int, list []xattr, hashes bool) uint32 {
	end := len(b)
	var sum uint32
	for _, x := range list {
		e := b[at:]
		e[0], e[1] = uint8(len(x.name)), x.index
		if len(x.value) > 0 {
			end -= roundUp4(len(x.value))
			le.PutUint16(e[2:], uint16(end))
			copy(b[end:], x.value)
		}
		le.PutUint32(e[8:], uint32(len(x.value)))
		copy(e[16:], x.name)
		if hashes {
			h := x.hash()
			le.PutUint32(e[12:], h)
			sum = sum<<16 ^ sum>>16 ^ h
		}
		at += x.entrySize()
	}
	return sum
}

func (x xattr) hash() uint32 {
	var h uint32
	for i := range len(x.name) {
		h = h<<5 ^ h>>27 ^ uint32(x.name[i])
	}
	padded := append(slices.Clone(x.value), make([]byte, roundUp4(len(x.value))-len(x.value))...)
	for ; len(padded) > 0; padded = padded[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(padded)
	}
	return h
}
