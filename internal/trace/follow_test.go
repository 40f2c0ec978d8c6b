package trace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/referee"
)

// TestFollowersMissNothing: rotation under load, with followers that stay and one that is begun anew again and again.
func TestFollowersMissNothing(t *testing.T) {
	const writers, each = 4, 250
	dir := t.TempDir()
	w := open(t, dir, Options{Sync: SyncNever, MaxSize: 20_000, KeepBytes: -1})
	var all sync.WaitGroup
	got := make([][]string, 3)
	all.Go(func() { got[0], _ = take(t, w.Follow(t.Context(), Cursor{}), writers*each) })
	all.Go(func() { got[1], _ = take(t, Follow(t.Context(), dir, Cursor{}), writers*each) })
	all.Go(func() {
		for at := (Cursor{}); len(got[2]) < writers*each; {
			var ids []string
			ids, at = take(t, w.Follow(t.Context(), at), min(7, writers*each-len(got[2])))
			at, _ = ParseCursor(at.String())
			got[2] = append(got[2], ids...)
		}
	})
	write(t, w, writers, each, func(i int) int { return i % 300 })
	all.Wait()
	want := consistent(t, dir)
	once(t, want, writers, each)
	for i, ids := range got {
		if !slices.Equal(ids, want) {
			t.Errorf("follower %d saw %d lines, or in another order", i, len(ids))
		}
	}
	if list, _ := sources(dir); len(list) < 5 {
		t.Errorf("only %d rotations", len(list))
	}
}

// TestCursors hold over rotation, restart, boot and a move; they say when their file is gone.
func TestCursors(t *testing.T) {
	dir := t.TempDir()
	o := Options{Sync: SyncNever}
	w := open(t, dir, o)
	if at, err := End(dir); err != nil || at != (Cursor{}) {
		t.Error(at, err)
	}
	add(t, w, exchange("1", "a"))
	add(t, w, exchange("2", "a"))
	_, first := take(t, Follow(t.Context(), dir, Cursor{}), 1)
	end, err := End(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.Rotate()
	if again, err := End(dir); err != nil || again != end {
		t.Errorf("%v, %v, not %v", again, err, end)
	}
	w.Close()
	// A power cut takes the second line. After the boot new ones do not stand in its place.
	rotatedFiles, _ := filepath.Glob(dir + "/trace-*.jsonl")
	os.Rename(rotatedFiles[0], filepath.Join(dir, JSONFile))
	os.Truncate(filepath.Join(dir, JSONFile), first.Offset)
	os.WriteFile(filepath.Join(dir, lockFile), []byte("another boot\n"), 0o600)
	w = open(t, dir, o)
	add(t, w, exchange("3", "a"))
	moved := t.TempDir()
	if err := os.CopyFS(moved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, moved} {
		for _, at := range []Cursor{first, end} {
			if ids, _ := take(t, Follow(t.Context(), d, at), 1); !slices.Equal(ids, []string{"3"}) {
				t.Errorf("after %v: %v", at, ids)
			}
		}
	}
	for _, at := range []Cursor{{"0123456789abcdef", 0}, {first.File, 3}} {
		for _, err := range Follow(t.Context(), dir, at) {
			if !errors.Is(err, ErrGone) || fault.HintOf(err) == "" {
				t.Errorf("%v: %v", at, err)
			}
		}
	}
	for _, bad := range []string{"x", "0123456789abcdef:", "0123456789abcdef:-1", "0123456789abcdef:01", "0123456789abcdef:9999999999999999999", "../../etc/passwd:0"} {
		if _, err := ParseCursor(bad); fault.KindOf(err) != fault.Input {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestFind(t *testing.T) {
	dir, start := t.TempDir(), time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	now := start
	w := open(t, dir, Options{Sync: SyncNever, SyncEvery: time.Hour, MaxAge: -1, Now: func() time.Time { return now }})
	for i := range 100 {
		r := exchange(fmt.Sprint(i), "Ответ")
		if now = start.Add(time.Duration(i) * time.Hour); i%2 == 1 {
			r.Mode, r.Source = "RECURSIA", "telegram"
		}
		if i%10 == 7 {
			r.Error = "семёрка"
		}
		r.Time = now
		add(t, w, r)
		if i%15 == 14 {
			w.Rotate()
		}
	}
	f, _ := os.OpenFile(filepath.Join(dir, JSONFile), os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString("garbage\n{\"time\":\"2026\"}\n\n{\"torn")
	f.Close()
	at := func(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }
	cursors := map[string]Cursor{}
	for l := range Find(t.Context(), dir, Query{}) {
		r, _ := l.Record()
		cursors[r.ID] = l.Cursor
	}
	if len(cursors) != 100 {
		t.Fatalf("%d of 100", len(cursors))
	}
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Limit: 3}, "0 1 2"},
		{Query{Limit: 3, Newest: true}, "99 98 97"},
		{Query{Since: at(29), Until: at(32)}, "29 30 31"},
		{Query{Since: at(29), Until: at(32), Newest: true}, "31 30 29"},
		{Query{Mode: "RECURSIA", Since: at(94)}, "95 97 99"},
		{Query{Source: "rest", Limit: 2, Newest: true}, "98 96"},
		{Query{Text: "СЕМЁРКА", Since: at(60)}, "67 77 87 97"},
		{Query{Text: "кто", Limit: 1}, "0"},
		{Query{Text: "nowhere"}, ""},
		{Query{From: cursors["43"], Limit: 3}, "44 45 46"},
		{Query{From: cursors["45"], Limit: 2, Newest: true}, "44 43"},
		{Query{From: cursors["30"], Limit: 2, Newest: true}, "29 28"},
		{Query{From: cursors["99"]}, ""},
	} {
		ids, _ := take(t, Find(t.Context(), dir, c.q), -1)
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
	for _, err := range Find(t.Context(), dir, Query{From: Cursor{"0123456789abcdef", 1}}) {
		if !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	}
	for _, err := range Find(t.Context(), filepath.Join(dir, "none"), Query{}) {
		t.Error(err)
	}
}

// TestTail: the real tail, that stays with a file and that goes with its name.
func TestTail(t *testing.T) {
	referee.Need(t, "tail")
	dir := t.TempDir()
	w := open(t, dir, Options{Sync: SyncNever})
	for _, name := range []string{JSONFile, TextFile, LogfmtFile} {
		for _, flag := range []string{"-f", "-F"} {
			cmd := exec.CommandContext(t.Context(), "tail", "-n", "+1", flag, filepath.Join(dir, name))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			s := bufio.NewScanner(out)
			s.Buffer(nil, MaxLine)
			seen := 0
			wait := func(word string) {
				for seen++; s.Scan(); {
					if strings.Contains(s.Text(), word) {
						return
					}
				}
				t.Fatalf("tail %s %s ended before %s: %v", flag, name, word, s.Err())
			}
			for i := range 5 {
				word := fmt.Sprintf("%s%s%d-%s", name, flag, i, strings.Repeat("x", 70_000*(i%2)))
				add(t, w, exchange(NewID(), word))
				wait(word)
				if flag == "-F" {
					w.Rotate()
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}
