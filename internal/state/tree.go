package state

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/agibake/agibake/internal/fault"
)

// Kind is what an entry is.
type Kind byte

// Nothing else can be part of a state: no devices, pipes or sockets.
const (
	Dir  Kind = 'd'
	File Kind = 'f'
	Link Kind = 'l'
)

// Sum is a SHA-256.
type Sum [32]byte

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// Piece is a run of bytes of a file; each is stored once, in one blob.
type Piece struct {
	Sum  Sum
	Size int64 // bytes
}

// Entry is a file, folder or symbolic link of a state.
type Entry struct {
	Path     string // slash-separated, relative to the state root
	Kind     Kind
	Mode     uint32 // permission bits with setgid and sticky
	UID, GID uint32 // 0 stands for whoever captured it
	Size     int64  // bytes of a file
	Sum      Sum    // of a file
	Records  int64  // lines of a .jsonl file; -1 of anything else
	Target   string // of a link: relative, and inside the state
	Pieces   []Piece
}

// Tree is what a state consists of. Equal states have equal trees, whoever captured them, where and when: times are no
// part of it.
type Tree struct {
	Entries []Entry // by path, in byte order
}

const (
	treeHead   = "agibake tree 1\n"
	maxTree    = 256 << 20 // bytes of the document
	maxPath    = 4096      // bytes
	maxName    = 255       // bytes between slashes
	modeBits   = 0o3777
	maxPiece   = LargePiece
	maxEntries = 1 << 20
)

// errTree marks a tree document that is not one.
var errTree = fault.Mark(fault.Untrusted, errors.New("the tree is damaged"))

// Encode returns the document of the tree (docs/state.md, "Tree").
func (t *Tree) Encode() []byte {
	var b bytes.Buffer
	t.encode(&b)
	return b.Bytes()
}

func (t *Tree) encode(w io.Writer) {
	io.WriteString(w, treeHead)
	for _, e := range t.Entries {
		fmt.Fprintf(w, "%c %04o %d %d ", e.Kind, e.Mode, e.UID, e.GID)
		if e.Kind == File {
			fmt.Fprintf(w, "%d %s %d ", e.Size, e.Sum, e.Records)
		}
		io.WriteString(w, escape(e.Path)+"\n")
		if e.Kind == Link {
			io.WriteString(w, "t "+escape(e.Target)+"\n")
		}
		for _, p := range e.Pieces {
			fmt.Fprintf(w, "p %d %s\n", p.Size, p.Sum)
		}
	}
}

// encodes tells whether encode writes data, without a second copy of it.
func encodes(data []byte, encode func(io.Writer)) bool {
	m := &matcher{data, true}
	encode(m)
	return m.same && len(m.rest) == 0
}

type matcher struct {
	rest []byte
	same bool
}

func (m *matcher) Write(p []byte) (int, error) {
	if m.same = m.same && bytes.HasPrefix(m.rest, p); m.same {
		m.rest = m.rest[len(p):]
	}
	return len(p), nil
}

// DecodeTree reads what Encode wrote, and nothing else: whatever it accepts, Encode gives back byte by byte. Paths are safe
// to be created under a folder in their order. Errors are of kind fault.Untrusted.
func DecodeTree(data []byte) (*Tree, error) {
	r := &lines{r: bufio.NewReader(bytes.NewReader(data))}
	if r.next(); r.line+"\n" != treeHead {
		return nil, fmt.Errorf("it begins with %.40q: %w", r.line, errTree)
	}
	t := &Tree{}
	for r.next() {
		if err := t.add(r); err != nil {
			return nil, fmt.Errorf("line %d: %w", r.number, err)
		}
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if !encodes(data, t.encode) {
		return nil, fmt.Errorf("it is not in the one form that counts: %w", errTree)
	}
	return t, nil
}

func (t *Tree) add(r *lines) error {
	last := len(t.Entries) - 1
	switch kind := r.word(); {
	case kind == "p" && last >= 0 && t.Entries[last].Kind == File:
		p := Piece{Size: r.number64(), Sum: r.sum()}
		t.Entries[last].Pieces = append(t.Entries[last].Pieces, p)
	case kind == "t" && last >= 0 && t.Entries[last].Kind == Link && t.Entries[last].Target == "":
		t.Entries[last].Target = r.text()
	case (kind == "d" || kind == "f" || kind == "l") && len(t.Entries) < maxEntries:
		e := Entry{Kind: Kind(kind[0]), Records: -1}
		e.Mode, e.UID, e.GID = r.number32(8), r.number32(10), r.number32(10)
		if e.Kind == File {
			e.Size, e.Sum, e.Records = r.number64(), r.sum(), r.number64()
		}
		e.Path = r.text()
		t.Entries = append(t.Entries, e)
	default:
		return fmt.Errorf("%.20q does not belong there: %w", kind, errTree)
	}
	if r.bad {
		return fmt.Errorf("%.80q: %w", r.line, errTree)
	}
	return nil
}

// check holds the tree against the rules that make it safe to write below a folder.
func (t *Tree) check() error {
	if len(t.Entries) > maxEntries {
		return fmt.Errorf("more than %d files and folders: %w", maxEntries, errTree)
	}
	dirs := map[string]bool{".": true}
	before := ""
	for _, e := range t.Entries {
		why := ""
		switch {
		case !validPath(e.Path):
			why = "is no path inside the state"
		case e.Path <= before:
			why = "is out of order"
		case !dirs[path.Dir(e.Path)]:
			why = "has no folder"
		case e.Mode&^modeBits != 0:
			why = "has an impossible mode"
		case e.Kind == Link && !validTarget(e.Path, e.Target):
			why = fmt.Sprintf("links to %.80q, outside the state", e.Target)
		case e.Kind == File && !e.adds():
			why = "has pieces that do not add up to it"
		}
		if why != "" {
			return fmt.Errorf("%.200q %s: %w", e.Path, why, errTree)
		}
		if before = e.Path; e.Kind == Dir {
			dirs[e.Path] = true
		}
	}
	return nil
}

// adds tells whether the pieces are as large as the file, and are it where the sum tells.
func (e *Entry) adds() bool {
	if len(e.Pieces) == 0 && e.Sum != sumOf(nil) || len(e.Pieces) == 1 && e.Sum != e.Pieces[0].Sum {
		return false
	}
	left := e.Size
	for _, p := range e.Pieces {
		if p.Size <= 0 || p.Size > maxPiece || p.Size > left {
			return false
		}
		left -= p.Size
	}
	return left == 0 && e.Size >= 0 && e.Records >= -1
}

// compareEntries orders entries as a tree has them.
func compareEntries(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }
