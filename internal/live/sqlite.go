package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	busyPatience = 10 * time.Second
	backupStep   = 1024 // pages at a time
)

// Backup copies a database that may be in use to the new file dst: one transaction's end, whole, without -wal or -journal.
// It uses SQLite's online backup (sqlite.org/backup.html) over a read-only connection, and waits for locks up to 10 s; then
// the error is ErrBusy. Beside the source it creates nothing, but with a database in WAL mode it takes its read lock in the
// -shm file that the writers have there. A database that its last user left unclean is copied with its -wal or -journal
// and put right in the copy.
func Backup(ctx context.Context, src, dst string) error {
	rough, err := backup(ctx, src, dst, busyPatience)
	if err == nil && rough {
		if err = Recover(ctx, dst); err != nil {
			removeDatabase(dst)
		}
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", src, err)
	}
	return nil
}

// backup is Backup but for the recovery that a rough copy needs.
func backup(ctx context.Context, src, dst string, wait time.Duration) (rough bool, err error) {
	info, err := os.Stat(src)
	if err != nil {
		return false, err
	}
	if err := removeDatabase(dst); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return false, err
	}
	unattended, err := unattended(src)
	if err != nil {
		return false, err
	}
	if !unattended {
		err = online(ctx, src, dst, wait)
		switch code := sqliteCode(err); {
		case code == sqlite3.SQLITE_READONLY_ROLLBACK || code == sqlite3.SQLITE_READONLY_RECOVERY:
			unattended = true // a hot journal: nobody is there to roll it back
		case code&0xff == sqlite3.SQLITE_BUSY:
			err = fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	if unattended {
		err = copyRough(ctx, src, dst)
	}
	if err != nil {
		removeDatabase(dst)
		return false, err
	}
	return unattended, imitate(info, dst)
}

// unattended tells whether a database in WAL mode has nobody who uses it: there is no -shm. SQLite would make one.
func unattended(src string) (bool, error) {
	head, err := sqliteHeader(src)
	if err != nil {
		return false, err
	}
	if head[18] != 2 && head[19] != 2 { // file format write and read version
		return false, nil
	}
	_, err = os.Stat(src + "-shm")
	return errors.Is(err, fs.ErrNotExist), nil
}

// online runs SQLite's backup within one read transaction, so that writers in between do not make it start again.
func online(ctx context.Context, src, dst string, wait time.Duration) error {
	db, err := openSQLite(src, url.Values{"mode": {"ro"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds())}})
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var n int
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return err
	}
	target, err := filepath.Abs(dst)
	if err != nil {
		return err
	}
	uri := url.URL{Scheme: "file", Path: target, RawQuery: "_pragma=synchronous(off)&_pragma=journal_mode(off)"}
	return conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		}).NewBackup(uri.String())
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = b.Step(backupStep); err == nil {
				err = ctx.Err()
			}
		}
		return errors.Join(err, b.Finish())
	})
}
