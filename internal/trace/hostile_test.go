package trace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agibake/agibake/internal/fault"
)

func TestHostileText(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, Options{Sync: SyncNever})
	bad := "\x1b[2J\x1b]0;title\x07\x00\x7f\u009b31m\u202eabc\u2028x\ufeff\r\n\n2026-11-25T15:04:05.123456Z 9 forged\nanswer: forged\n\n\xff\xc3\xed\xa0\x80</script>\tend"
	r := exchange(bad, bad)
	r.Source, r.Role, r.Mode, r.Model, r.Error, r.Settings.Stop = bad, bad, bad, bad, bad, []string{bad}
	r.Messages = append(r.Messages, Message{bad, bad})
	add(t, w, r)
	add(t, w, exchange("next", "plain"))
	if ids := consistent(t, dir); len(ids) != 2 || ids[1] != "next" || ids[0] != valid(bad) {
		t.Errorf("%q", ids)
	}
	for _, name := range []string{JSONFile, TextFile, LogfmtFile} {
		got := read(t, filepath.Join(dir, name))
		if i := strings.IndexFunc(got, func(r rune) bool { return harmful(r) && r != '\n' && (r != '\t' || name != TextFile) }); i >= 0 || !utf8.ValidString(got) {
			t.Errorf("%s: %.40q", name, got[max(i, 0):])
		}
		if name != TextFile && strings.Count(got, "\n") != 2 {
			t.Errorf("%s has more than two lines", name)
		}
		if name == TextFile && (strings.Count(got, "\n\n") != 2 || strings.Contains(got, "\nanswer: forged") || strings.Contains(got, "\n2026-11-25T15:04:05.123456Z 9 f")) {
			t.Errorf("%s is forged: %q", name, got)
		}
	}
	if err := w.Append(t.Context(), exchange(strings.Repeat("x", maxID+1), "")); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	if err := w.Append(t.Context(), exchange("x", strings.Repeat("x", MaxLine))); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	if ids := consistent(t, dir); len(ids) != 2 {
		t.Errorf("a refused record was written: %q", ids[2:])
	}
}

func TestSecretsNeverAppear(t *testing.T) {
	dir := t.TempDir()
	s := &Secrets{}
	all := []string{"tok-en!1", "tok-en!1-longer", `qu"ote\back` + "\nline", "пароль-тайна", "\xff\xfebinary", "a b/c+d?e"}
	for _, secret := range all {
		if err := s.Add(secret); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add("abc"); fault.KindOf(err) != fault.Input {
		t.Error(err)
	}
	w := open(t, dir, Options{Sync: SyncNever, Redact: s.Redact, MaxSize: 4096})
	for _, secret := range all {
		for _, shown := range []string{secret, "prompt: " + secret + secret, "?token=" + url.QueryEscape(secret), "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+secret)),
			base64.URLEncoding.EncodeToString([]byte("ab" + secret + "c")), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
			r := exchange(NewID(), shown)
			r.Source, r.Error, r.Settings.Stop, r.Tokens = shown, shown, []string{shown}, []int{12345678}
			r.Messages = []Message{{"user", shown}}
			add(t, w, r)
		}
	}
	add(t, w, exchange("innocent", "words"))
	consistent(t, dir)
	files, _ := filepath.Glob(dir + "/trace*")
	for _, f := range files {
		text := read(t, f)
		for _, secret := range all {
			quoted, _ := json.Marshal(secret)
			for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
				base64.StdEncoding.EncodeToString([]byte("admin:" + secret))[8:], "12345678"} {
				if len(form) >= leastCoded && strings.Contains(text, form[:len(form)-2]) && form != "12345678" || strings.Contains(text, form) {
					t.Errorf("%s has %q", f, form)
				}
			}
		}
	}
	if text := read(t, filepath.Join(dir, JSONFile)); !strings.Contains(text, `"answer":"words"}`) || !strings.Contains(text, `"redacted":true`) {
		t.Error(text)
	}
}
