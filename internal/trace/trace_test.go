package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/fault"
)

func open(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	w, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func add(t testing.TB, w *Writer, r Record) {
	t.Helper()
	if err := w.Append(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func exchange(id, answer string) Record {
	zero := 0.0
	return Record{ID: id, Source: "rest", Role: "talk", Mode: "SAIGA", Settings: Settings{Temperature: &zero},
		Messages: []Message{{"user", "Кто ты?"}}, Answer: answer}
}

// consistent checks that each file has whole records only and that all forms tell the same; it returns the ids in order.
func consistent(t testing.TB, dir string) (ids []string) {
	t.Helper()
	list, have, err := rotated(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := [][len(forms)]string{}
	for _, s := range list {
		if have[s] != [len(forms)]bool{true, true, true} {
			t.Errorf("%v has forms %v", s, have[s])
			continue
		}
		names = append(names, [len(forms)]string{s.name(forms[0]), s.name(forms[1]), s.name(forms[2])})
	}
	for _, n := range append(names, [len(forms)]string{TextFile, LogfmtFile, JSONFile}) {
		var set lineSet
		for line := range strings.Lines(read(t, filepath.Join(dir, n[jsonForm]))) {
			r, err := Parse([]byte(line))
			if err != nil || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s: %.100q: %v", n[jsonForm], line, err)
			}
			ids = append(ids, r.ID)
			appendText(&set[textForm], r)
			appendLogfmt(&set[logfmtForm], r)
		}
		for form, want := range set {
			if form != jsonForm && read(t, filepath.Join(dir, n[form])) != want.String() {
				t.Errorf("%s differs from %s", n[form], n[jsonForm])
			}
		}
	}
	return ids
}

// once checks that ids are those of want, each once, and in order within a writer's "N.".
func once(t testing.TB, ids []string, writers, each int) {
	t.Helper()
	next := make([]int, writers)
	for _, id := range ids {
		var n, i int
		if _, err := fmt.Sscanf(id, "%d.%d", &n, &i); err != nil || i != next[n] {
			t.Fatalf("%s where %d.%d was to come", id, n, next[n])
		}
		next[n]++
	}
	for n, got := range next {
		if got != each {
			t.Errorf("writer %d: %d lines of %d", n, got, each)
		}
	}
}

func write(t testing.TB, w *Writer, writers, each int, size func(i int) int) {
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for i := range each {
				if err := w.Append(context.Background(), exchange(fmt.Sprintf("%d.%d", n, i), strings.Repeat("я", size(i)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// long is the length of a line now and then: more than 64 KiB.
func long(i int) int {
	if i%10 == 3 {
		return 50_000
	}
	return i % 100
}

func TestFormsAreTheseBytes(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{Sync: SyncNever})
	cold, seed, n := 0.2, uint32(7), 64
	add(t, w, Record{Time: time.Date(2026, 11, 25, 15, 4, 5, 123456789, time.UTC), ID: "17", Source: "telegram", Role: "talk", Mode: "SAIGA",
		Model: "sha256:ab", Messages: []Message{{"system", "Be brief."}, {"user", "Кто\nты?"}},
		Settings: Settings{Temperature: &cold, Seed: &seed, Predict: &n, Stop: []string{"\n"}}, Answer: `Я "Сайга".`, Tokens: []int{763, 797},
		Timings: Timings{PromptN: 9, PredictedN: 2, TotalMS: 12.5}})
	add(t, w, Record{Time: time.Date(2026, 11, 25, 15, 4, 6, 0, time.UTC), ID: "18", Prompt: "x", Error: "no model"})
	for name, want := range map[string]string{
		JSONFile: `{"time":"2026-11-25T15:04:05.123456Z","id":"17","source":"telegram","role":"talk","mode":"SAIGA","model":"sha256:ab",` +
			`"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Кто\nты?"}],` +
			`"settings":{"temperature":0.2,"seed":7,"n_predict":64,"stop":["\n"]},"answer":"Я \"Сайга\".","tokens":[763,797],` +
			`"timings":{"prompt_n":9,"predicted_n":2,"total_ms":12.5}}` + "\n" +
			`{"time":"2026-11-25T15:04:06.000000Z","id":"18","prompt":"x","settings":{},"error":"no model"}` + "\n",
		TextFile: "2026-11-25T15:04:05.123456Z 17 telegram talk SAIGA sha256:ab\nsystem: Be brief.\nuser: Кто\n  ты?\nanswer: Я \"Сайга\".\n" +
			`(temperature=0.2 seed=7 n_predict=64 stop.0="\n" prompt_n=9 predicted_n=2 total_ms=12.5)` + "\n\n" +
			"2026-11-25T15:04:06.000000Z 18 - - - -\nprompt: x\nerror: no model\n\n",
		LogfmtFile: `time=2026-11-25T15:04:05.123456Z id=17 source=telegram role=talk mode=SAIGA model=sha256:ab messages.0.role=system ` +
			`messages.0.content="Be brief." messages.1.role=user messages.1.content="Кто\nты?" answer="Я \"Сайга\"." tokens=763,797 ` +
			`temperature=0.2 seed=7 n_predict=64 stop.0="\n" prompt_n=9 predicted_n=2 total_ms=12.5` + "\n" +
			`time=2026-11-25T15:04:06.000000Z id=18 prompt=x error="no model"` + "\n",
	} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	consistent(t, dir)
}

func TestManyWriters(t *testing.T) {
	for _, o := range []Options{{Sync: SyncAlways}, {SyncEvery: time.Millisecond}, {Sync: SyncNever, MaxSize: 200_000, KeepBytes: -1}} {
		dir := t.TempDir()
		write(t, open(t, dir, o), 8, 40, long)
		once(t, consistent(t, dir), 8, 40)
	}
}

func TestTornLines(t *testing.T) {
	line := func(id string) string {
		var b bytes.Buffer
		r := exchange(id, "a")
		r.Time = time.Now()
		appendJSON(&b, clean(r, nil))
		return b.String()
	}
	one, two := line("1"), line("2")
	for name, c := range map[string]struct {
		json, text, logfmt string
		ids                string
		note               string
	}{
		"cut":         {one + two[:len(two)-3], "", "", "[1]", "were cut"},
		"completed":   {one + two[:len(two)-1], "", "", "[1 2]", "got its newline"},
		"zeros":       {one + string(make([]byte, 5000)), "", "", "[1]", "5000 bytes"},
		"only a half": {one[:9], "", "", "[]", "were cut"},
		"others more": {"", "2026 half a block", "time=2026 id", "[]", "made again"},
	} {
		dir, notes := t.TempDir(), ""
		os.WriteFile(filepath.Join(dir, JSONFile), []byte(c.json), 0o600)
		os.WriteFile(filepath.Join(dir, TextFile), []byte(c.text), 0o600)
		os.WriteFile(filepath.Join(dir, LogfmtFile), []byte(c.logfmt), 0o600)
		w := open(t, dir, Options{Note: func(s string) { notes += s + "\n" }, MaxAge: -1})
		if got := fmt.Sprint(consistent(t, dir)); got != c.ids || !strings.Contains(notes, c.note) {
			t.Errorf("%s: %s, want %s; %s", name, got, c.ids, notes)
		}
		add(t, w, exchange("3", "b"))
		if got := fmt.Sprint(consistent(t, dir)); got != strings.Replace(strings.Replace(c.ids, "]", " 3]", 1), "[ ", "[", 1) {
			t.Errorf("%s: %s", name, got)
		}
		w.Close()
		notes = ""
		open(t, dir, Options{Note: func(s string) { notes += s + "\n" }, MaxAge: -1}).Close()
		if notes != "" {
			t.Errorf("%s: after a clean end: %s", name, notes)
		}
	}
}

func TestOneWriterAFolder(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, unix.EWOULDBLOCK) || fault.HintOf(err) == "" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Append(ctx, exchange("1", "")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if err := w.Append(t.Context(), exchange("1", "")); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	open(t, dir, Options{})
	if ids := consistent(t, dir); len(ids) != 0 {
		t.Error(ids)
	}
}

// take reads n lines.
func take(t testing.TB, lines iter.Seq2[Line, error], n int) (ids []string, last Cursor) {
	t.Helper()
	if n == 0 {
		return nil, last
	}
	for l, err := range lines {
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Record()
		if err != nil {
			t.Fatal(err)
		}
		ids, last = append(ids, r.ID), l.Cursor
		if len(ids) == n {
			break
		}
	}
	return ids, last
}
