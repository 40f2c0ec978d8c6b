package live

import (
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// sidecars are the files that belong to a database while it is in use (sqlite.org/tempfiles.html).
var sidecars = []string{"-wal", "-shm", "-journal"}

// IsSQLite tells whether a file begins as an SQLite 3 database does (sqlite.org/fileformat2.html, 1.3).
func IsSQLite(path string) bool {
	head, err := sqliteHeader(path)
	return err == nil && string(head[:16]) == "SQLite format 3\x00"
}

func sqliteHeader(path string) (head [20]byte, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // a fifo would wait for ever
		return head, errors.Join(err, fs.ErrInvalid)
	}
	f, err := os.Open(path)
	if err != nil {
		return head, err
	}
	defer f.Close()
	_, err = io.ReadFull(f, head[:])
	return head, err
}

// openSQLite opens a database with parameters of sqlite.org/uri.html and the driver's own.
func openSQLite(path string, params url.Values) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: params.Encode()}).String())
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func sqliteCode(err error) int {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// removeDatabase removes a database with all that may lie beside it.
func removeDatabase(path string) error {
	for _, suffix := range append([]string{""}, sidecars...) {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
