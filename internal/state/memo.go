package state

import (
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/atomicfile"
)

// Memo remembers what files consisted of when they were last read, so that what did not change is not read again. It may
// be lost at any time.
type Memo struct {
	path  string
	files map[string]remembered
}

type remembered struct {
	Stat    stat
	Sum     Sum
	Size    int64 // of what was captured: less than the file's where a torn line was left out
	Records int64
	Pieces  []Piece
}

// memoVersion changes with the way files are cut.
const memoVersion = "agibake memo 1"

// settled is how long a file must have rested before it is remembered: a later change could bear the same times else.
const settled = time.Second

// OpenMemo opens the memo for the state at root in a folder of memos. A damaged or foreign one is as good as none.
func OpenMemo(dir, root string) (*Memo, error) {
	abs, err := filepath.Abs(root)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("open memo: %w", err)
	}
	sum := sha256.Sum256([]byte(abs))
	m := &Memo{path: filepath.Join(dir, hex.EncodeToString(sum[:16])), files: map[string]remembered{}}
	f, err := os.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open memo: %w", err)
	}
	defer f.Close()
	var version string
	d := gob.NewDecoder(f)
	if d.Decode(&version) != nil || version != memoVersion || d.Decode(&m.files) != nil {
		m.files = map[string]remembered{}
	}
	return m, nil
}

// recall returns what is known of a file that did not change.
func (m *Memo) recall(f *Found) (remembered, bool) {
	if m == nil {
		return remembered{}, false
	}
	r, ok := m.files[f.Path]
	return r, ok && r.Stat == f.stat
}

// Changed tells whether a file has to be read.
func (m *Memo) Changed(f *Found) bool {
	_, known := m.recall(f)
	return !known
}

// save replaces what is remembered.
func (m *Memo) save(list []Found, now time.Time) error {
	if m == nil {
		return nil
	}
	m.files = map[string]remembered{}
	for _, f := range list {
		if f.Kind == File && now.Sub(time.Unix(0, max(f.stat.Changed, f.stat.Modified))) > settled {
			m.files[f.Path] = remembered{f.stat, f.Sum, f.Size, f.Records, f.Pieces}
		}
	}
	if m.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return fmt.Errorf("save memo: %w", err)
	}
	f, err := atomicfile.Create(m.path)
	if err != nil {
		return fmt.Errorf("save memo: %w", err)
	}
	defer f.Abort()
	e := gob.NewEncoder(f)
	if err := errors.Join(f.Chmod(0o600), e.Encode(memoVersion), e.Encode(m.files)); err != nil {
		return fmt.Errorf("save memo: %w", err)
	}
	return f.Commit()
}

// NewMemo is a memo that is never written.
func NewMemo() *Memo { return &Memo{files: map[string]remembered{}} }

// ForgetExports drops the exports that Collect made: their bytes lie nowhere.
func (m *Memo) ForgetExports() {
	maps.DeleteFunc(m.files, func(path string, _ remembered) bool { return strings.HasSuffix(path, exportSuffix) })
}
