package live

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
)

// names lists a folder.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestBackupOfADatabaseInUse copies without freezing, and is judged by SQLite's own shell.
func TestBackupOfADatabaseInUse(t *testing.T) {
	for _, mode := range []string{"delete", "wal"} {
		src := t.TempDir() + "/with ?#% in its name.db"
		acked := follow(start(t, "sqlite", src, mode))
		for acked.Load() < 50 {
			time.Sleep(time.Millisecond)
		}
		for range 5 {
			before, dst := acked.Load(), t.TempDir()+"/copy.db"
			check(t, Backup(t.Context(), src, dst))
			if n := int64(rows(t, dst)); n <= before {
				t.Errorf("%s: %d rows, acknowledged were %d", mode, n, before+1)
			}
			referee.Need(t, "sqlite3")
			if out := referee.Run(t, "sqlite3", dst, "PRAGMA integrity_check"); out != "ok\n" {
				t.Errorf("sqlite3 says %s", out)
			}
		}
	}
}

// TestBackupOfWhatACrashLeft kills a writer in the midst, and then backs up what lies there.
func TestBackupOfWhatACrashLeft(t *testing.T) {
	for _, mode := range []string{"delete", "wal", "persist"} {
		for range 5 {
			dir := t.TempDir()
			c := start(t, "sqlite", dir+"/a.db", mode)
			acked := follow(c)
			for acked.Load() < 50 {
				time.Sleep(time.Millisecond)
			}
			c.Process.Kill()
			c.Wait()
			time.Sleep(20 * time.Millisecond) // the last numbers are still in the pipe
			os.Remove(dir + "/a.db-shm")      // after a reboot of a machine that keeps it elsewhere
			before := names(t, dir)
			dst := t.TempDir() + "/copy.db"
			check(t, Backup(t.Context(), dir+"/a.db", dst))
			if n := int64(rows(t, dst)); n <= acked.Load() {
				t.Errorf("%s: %d rows, acknowledged were %d", mode, n, acked.Load()+1)
			}
			if after := names(t, dir); len(after) != len(before) {
				t.Errorf("%s: beside the source: %v, now %v", mode, before, after)
			}
		}
	}
}

// TestHotJournal: a transaction that was cut off is rolled back in the copy.
func TestHotJournal(t *testing.T) {
	referee.Need(t, "sqlite3")
	dir := t.TempDir()
	c := exec.Command("sqlite3", dir+"/a.db")
	in, err := c.StdinPipe()
	check(t, err)
	check(t, c.Start())
	_, err = in.Write([]byte("CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (0,'x');\n" +
		"PRAGMA cache_size=5; PRAGMA cache_spill=1; BEGIN; WITH RECURSIVE k(i) AS (SELECT 5 UNION ALL SELECT i+1 FROM k LIMIT 20000) INSERT INTO t SELECT i, hex(randomblob(200)) FROM k;\n"))
	check(t, err)
	for {
		if info, err := os.Stat(dir + "/a.db"); err == nil && info.Size() > 1<<20 { // pages of the transaction spilled
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := backup(t.Context(), dir+"/a.db", dir+"/copy/a.db", 0); !errors.Is(err, ErrBusy) {
		t.Errorf("with the lock held: %v", err)
	}
	c.Process.Kill()
	c.Wait()
	check(t, Backup(t.Context(), dir+"/a.db", dir+"/copy/a.db"))
	if n := rows(t, dir+"/copy/a.db"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestBusyEnds(t *testing.T) {
	path := t.TempDir() + "/a.db"
	db, err := openSQLite(path, url.Values{})
	check(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE t(n); BEGIN EXCLUSIVE")
	check(t, err)
	if _, err := backup(t.Context(), path, path+".copy", 50*time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := Backup(ctx, path, path+".copy"); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if list, _ := filepath.Glob(path + ".copy*"); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func TestDamagedDatabase(t *testing.T) {
	path := t.TempDir() + "/a.db"
	db, err := openSQLite(path, url.Values{})
	check(t, err)
	_, err = db.Exec("CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT); WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM k LIMIT 2000) INSERT INTO t SELECT i, hex(i) FROM k")
	check(t, err)
	check(t, db.Close())
	text, err := os.ReadFile(path)
	check(t, err)
	copy(text[3*4096:], make([]byte, 2048))
	check(t, os.WriteFile(path, text, 0o644))
	if err := Recover(t.Context(), path); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}
