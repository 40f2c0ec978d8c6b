package trace

import (
	"fmt"
	"os"
	"path/filepath"
)

// prune removes the oldest rotated files that are not to be kept. Trouble is noted only: it will be tried again.
func (w *Writer) prune() {
	list, have, err := rotated(w.dir)
	if err != nil {
		w.o.Note(fmt.Sprintf("prune traces: %v", err))
		return
	}
	if len(list) > 0 && list[len(list)-1].compare(w.last) > 0 {
		w.last = list[len(list)-1]
	}
	bytes, files, now := int64(0), 0, w.o.Now()
	for i := len(list) - 1; i >= 0; i-- {
		s := list[i]
		for form, there := range have[s] {
			if info, err := os.Stat(filepath.Join(w.dir, s.name(forms[form]))); there && err == nil {
				bytes += info.Size()
			}
		}
		files++
		old := w.o.KeepAge > 0 && now.Sub(s.at) > w.o.KeepAge
		many := w.o.KeepFiles > 0 && files > w.o.KeepFiles || w.o.KeepBytes > 0 && bytes > w.o.KeepBytes
		if old || many || !have[s][jsonForm] { // without JSON lines it is what a crash in a rotation left
			w.remove(s, have[s])
		}
	}
}

// remove begins with the JSON lines: what a crash then leaves is removed as an orphan.
func (w *Writer) remove(s stamp, have [len(forms)]bool) {
	for form := len(forms) - 1; form >= 0; form-- {
		if !have[form] {
			continue
		}
		if err := os.Remove(filepath.Join(w.dir, s.name(forms[form]))); err != nil {
			w.o.Note(fmt.Sprintf("prune traces: %v", err))
		}
	}
}
