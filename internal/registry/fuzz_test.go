package registry

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`</v2/a/referrers/x?n=1>; rel="next"`, `<a>; rel=prev, <b>;rel="last next"`, `<a`, `<>;rel=next`, `<a>;rel=next,`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		to := nextLink([]string{s})
		if to != "" && (!strings.Contains(s, "<"+to+">") || !strings.Contains(strings.ToLower(s), "next")) {
			t.Errorf("%q from %q", to, s)
		}
	})
}

func TestNextLink(t *testing.T) {
	for s, want := range map[string]string{
		`</v2/x?n=1>; rel="next"`: "/v2/x?n=1", `<a>; rel=prev, <b>; title="x"; rel="last next"`: "b", `<a>; rel="nextish"`: "", `<a`: "", ``: "", `<a>;REL=next`: "a",
	} {
		if got := nextLink([]string{s}); got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

func FuzzRanges(f *testing.F) {
	for _, s := range []string{"bytes 0-4/5", "bytes 3-9/*", "0-0", "0-1023", "bytes=0-5", "bytes -1-5/9", "0-99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if from, total, ok := contentRange(s); ok && (from < 0 || total < -1 || total >= 0 && from >= total) {
			t.Errorf("%q: %d of %d", s, from, total)
		}
		if n, ok := uploadRange(s); ok && n < 0 || n == 1 {
			t.Errorf("%q: %d", s, n)
		}
		if d := retryAfter(s, time.Unix(1e9, 0)); d < 0 || d > time.Minute {
			t.Errorf("%q: %s", s, d)
		}
	})
}

func TestRanges(t *testing.T) {
	for s, want := range map[string]int64{"0-0": 0, "0-9": 10, "bytes=0-9": 10, "1-9": -1, "0-": -1, "": -1, "0--5": -1, "0-+5": -1} {
		if n, ok := uploadRange(s); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", s, n, ok)
		}
	}
	for s, want := range map[string][2]int64{"bytes 0-4/5": {0, 5}, "bytes 3-9/*": {3, -1}, "bytes 3-9/9": {-9}, "bytes 9-3/20": {-9}, "3-9/20": {-9}, "bytes 3/20": {-9}} {
		if from, total, ok := contentRange(s); ok != (want[0] >= 0) || ok && (from != want[0] || total != want[1]) {
			t.Errorf("%q: %d, %d, %v", s, from, total, ok)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{"5": 5 * time.Second, "86400": time.Minute, "-5": 0, "1h": 0, "": 0, "Thu, 01 Jan 2026 00:00:07 GMT": 7 * time.Second} {
		if d := retryAfter(s, now); d != want {
			t.Errorf("%q: %s", s, d)
		}
	}
}

func FuzzFileName(f *testing.F) {
	for _, s := range []string{"saiga-1.0.0.qcow2", "../x", "a/b", `a\b`, ".x", "", "x.part-001", "x\x00", "x ", "ａ.raw", "-rf", "C:x", "x\u202e.raw"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, part := splitTitle(s)
		if part < 0 || part > 0 && !strings.HasPrefix(s, name+".part-") || part == 0 && name != s {
			t.Errorf("%q: %q and %d", s, name, part)
		}
		if fileName(s) != nil {
			return
		}
		if filepath.Base(s) != s || !filepath.IsLocal(s) || filepath.Join("/out", s) != "/out/"+s || len(s) > maxName || strings.ContainsAny(s, "/\\\x00\n\x1b") || s[0] == '.' {
			t.Errorf("%q was accepted", s)
		}
	})
}

func TestFileName(t *testing.T) {
	for s, good := range map[string]bool{"saiga-1.0.0.qcow2": true, "Сайга 1.raw": true, "a..b": true, "": false, ".": false, "..": false, ".x": false, "a/b": false, `a\b`: false,
		"a\nb": false, "a:b": false, " a": false, "-a": false, "a.": false, "x\u202ey": false, strings.Repeat("x", 200): true, strings.Repeat("x", 201): false, "\xff": false} {
		if err := fileName(s); (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
	}
	for s, want := range map[string]int{"a.raw": 0, "a.raw.part-001": 1, "a.raw.part-1000": 1000, "a.part-000": 0, ".part-001": 0, "a.part-01": 0} {
		if name, n := splitTitle(s); n != want || n > 0 && name != "a.raw" {
			t.Errorf("%q: %q, %d", s, name, n)
		}
	}
}

func FuzzTameText(f *testing.F) {
	for _, s := range []string{"\x1b[31mx", "a b", "é\u202e", strings.Repeat("x\n", 500)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := tameText(s, 100); len(got) > 110 || strings.ContainsAny(got, "\x1b\n\r\x00") {
			t.Errorf("%q", got)
		}
	})
}
