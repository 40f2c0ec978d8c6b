package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

const step = buffer // bytes written at once at most: all that a killed process loses of a part

// part is a blob and where it goes in its file.
type part struct {
	d      v1.Descriptor
	offset int64
}

// target is a file in the making: .NAME.partial beside its final name, and .NAME.partial.state, which tells how far
// each part has come. One process at a time holds it.
type target struct {
	path  string
	parts []part
	size  int64
	disk  bool
	there bool // complete already

	mu    sync.Mutex
	f     *os.File // locked
	state *os.File
	done  []int64 // bytes of each part
	left  int     // parts that are not complete
}

func newTarget(path string, parts []part) (*target, error) {
	t := &target{path: path, parts: parts, left: len(parts)}
	for _, p := range parts {
		if t.size += p.d.Size; t.size > maxBlob {
			return nil, fault.Mark(fault.Untrusted, fmt.Errorf("%s: more than %d bytes", filepath.Base(path), int64(maxBlob)))
		}
	}
	return t, nil
}

func (t *target) partial() string {
	return filepath.Join(filepath.Dir(t.path), "."+filepath.Base(t.path)+".partial")
}

// key tells apart what partial files of one name are made of.
func (t *target) key() []byte {
	h := sha256.New()
	for _, p := range t.parts {
		fmt.Fprintf(h, "%s %d %d\n", p.d.Digest, p.offset, p.d.Size)
	}
	return h.Sum(nil)
}

// open takes the lock and reads how far an earlier run came.
func (t *target) open() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f != nil {
		return nil
	}
	f, err := lockFile(t.partial())
	if errors.Is(err, errBusy) {
		return fault.Hint(err, "another pull writes to the same folder; wait for its end")
	}
	if err != nil {
		return err
	}
	t.state, err = os.OpenFile(t.partial()+".state", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		f.Close()
		return err
	}
	t.f, t.done = f, make([]int64, len(t.parts))
	head := t.key()
	kept := make([]byte, len(head)+8*len(t.parts))
	if n, _ := t.state.ReadAt(kept, 0); n == len(kept) && string(kept[:len(head)]) == string(head) {
		for i := range t.done {
			if at := int64(binary.BigEndian.Uint64(kept[len(head)+8*i:])); at > 0 && at <= t.parts[i].d.Size {
				t.done[i] = at
			}
		}
	} else if err := errors.Join(t.f.Truncate(0), t.state.Truncate(0), writeAll(t.state, append(head, make([]byte, 8*len(t.parts))...))); err != nil {
		return err
	}
	err = unix.Fallocate(int(t.f.Fd()), 0, 0, t.size)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fault.Hint(fmt.Errorf("%s: %w", t.path, err), "make room on that disk")
	}
	return nil
}

func writeAll(f *os.File, data []byte) error {
	_, err := f.WriteAt(data, 0)
	return err
}

// advance notes that part i has come to at. The bytes are there already: whoever reads the note finds them.
func (t *target) advance(i int, at int64) error {
	t.done[i] = at
	_, err := t.state.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(at)), int64(sha256.Size+8*i))
	return err
}

// close lets go; what is not complete stays for another run.
func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f != nil {
		t.f.Close()
		t.state.Close()
		t.f = nil
	}
}

// allocated is the room that a file takes, in bytes.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.Hint(err, "make room on that disk")
	}
	return err
}
