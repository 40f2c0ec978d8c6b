package live

import (
	"bytes"
	"database/sql"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const chromaFile = "chroma.sqlite3"

// chromaTables are those without which a file of that name is not Chroma's.
var chromaTables = []string{"collections", "embedding_metadata", "embeddings", "embeddings_queue", "max_seq_id", "segments"}

// FindChroma lists the folders below dir, and dir, that hold a Chroma database, sorted. Nothing is locked or created.
func FindChroma(dir string) []string {
	var found []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == chromaFile && d.Type().IsRegular() && isChroma(path) {
			found = append(found, filepath.Dir(path))
		}
		return nil // what cannot be read is none
	})
	slices.Sort(found)
	return found
}

// isChroma reads a database's schema past all locks: tables come and go only when Chroma is upgraded.
func isChroma(path string) bool {
	if !IsSQLite(path) {
		return false
	}
	db, err := openSQLite(path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
	if err != nil {
		return false
	}
	defer db.Close()
	var n int
	list := "'" + strings.Join(chromaTables, "','") + "'"
	err = db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN (" + list + ")").Scan(&n)
	return err != nil || n == len(chromaTables) // read while it was written: go by the name
}

// writingTakes is longer than any two writes of one index are apart.
const writingTakes = 30 * time.Second

// unsettled tells why a Chroma folder, whose server stands still, is not whole: the server stands in the midst of writing an
// index, which it does in place, the .pickle last. "" is whole. An order of times that is old says nothing: it may come from
// a restore.
func unsettled(dir string) string {
	pickles, _ := filepath.Glob(filepath.Join(dir, "*", indexMetadata))
	for _, pickle := range pickles {
		meta, err := os.Stat(pickle)
		if err != nil {
			continue
		}
		bins, _ := filepath.Glob(filepath.Join(filepath.Dir(pickle), "*.bin"))
		for _, bin := range bins {
			if info, err := os.Stat(bin); err == nil && info.ModTime().After(meta.ModTime()) && time.Since(info.ModTime()) < writingTakes {
				return fmt.Sprintf("%s is newer than %s", bin, pickle)
			}
		}
		if !endsWith(pickle, meta.Size(), ".") { // STOP
			return pickle + " is cut off"
		}
	}
	return ""
}

func endsWith(path string, size int64, end string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(end))
	_, err = f.ReadAt(b, size-int64(len(end)))
	return err == nil && bytes.Equal(b, []byte(end))
}

// hasColumn tells whether a table has a column; Chroma's tables grew with its versions.
func hasColumn(db *sql.DB, table, column string) bool {
	var n int
	err := db.QueryRow("SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", table, column).Scan(&n)
	return err == nil && n > 0
}
