package registry

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

// room makes sure that the disk takes what is to come, before anything does.
func (w *pulling) room() error {
	need := map[string]int64{} // by folder
	for _, t := range w.targets {
		if t.there {
			continue
		}
		n := t.size
		if info, err := os.Lstat(t.partial()); err == nil {
			n -= allocated(info)
		}
		need[filepath.Dir(t.path)] += max(n, 0)
	}
	devices := map[uint64]int64{}
	for dir, n := range need {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(dir, &st) != nil || unix.Statfs(dir, &fs) != nil {
			continue
		}
		devices[st.Dev] += n
		if free := int64(fs.Bavail) * fs.Bsize; devices[st.Dev] > free {
			return fault.Hint(fmt.Errorf("%s: %d MiB are missing", dir, (devices[st.Dev]-free)>>20+1), "make room on that disk")
		}
	}
	return nil
}
