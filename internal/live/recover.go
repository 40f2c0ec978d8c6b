package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// copyRough copies a database with its -wal and -journal as files, again if they change meanwhile. The copy needs Recover. It
// is for a database that nobody uses, or whose users stand still.
func copyRough(ctx context.Context, src, dst string) error {
	for range 5 {
		before := fingerprint(src)
		err := removeDatabase(dst)
		for _, suffix := range []string{"", "-wal", "-journal"} { // -shm is but an index of -wal
			if e := copyFile(ctx, src+suffix, dst+suffix); e != nil && (suffix == "" || !errors.Is(e, fs.ErrNotExist)) {
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			return err
		}
		if before == fingerprint(src) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("it changes all the time: %w", ErrBusy)
}

// fingerprint changes when a database or what lies beside it does.
func fingerprint(path string) string {
	var b strings.Builder
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if info, err := os.Stat(path + suffix); err == nil {
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintln(&b, suffix, st.Ino, st.Size, st.Mtim, st.Ctim)
		}
	}
	return b.String()
}

// Recover makes one clean file of a database that was copied with its -wal or -journal while its writers stood still: what
// was committed is in it, what was not is rolled back, and it is checked (PRAGMA quick_check). Times and mode stay. The
// error of a database that does not pass is ErrDamaged.
func Recover(ctx context.Context, path string) error {
	if err := recoverDatabase(ctx, path); err != nil {
		return fmt.Errorf("recover %s: %w", path, err)
	}
	return nil
}

func recoverDatabase(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil { // it may be read-only
		return err
	}
	db, err := openSQLite(path, url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(1000)", "synchronous(off)"}})
	if err != nil {
		return err
	}
	defer db.Close()
	var mode string // asking reads the file, which rolls a hot journal back
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode == "wal" {
		var busy, frames, done int
		if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &done); err != nil || busy != 0 {
			return errors.Join(err, ErrBusy)
		}
	}
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, verdict)
	}
	if err := db.Close(); err != nil {
		return err
	}
	for _, suffix := range sidecars { // a journal that is kept between transactions says nothing now
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return imitate(info, path)
}
