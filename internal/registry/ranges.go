package registry

import (
	"strconv"
	"strings"
)

// contentRange reads "bytes FROM-TO/TOTAL" (RFC 9110, section 14.4); total is -1 when the server does not know it.
func contentRange(s string) (from, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, whole, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	from, okFrom := number(first)
	to, okTo := number(last)
	total, okTotal := number(whole)
	if whole == "*" {
		total, okTotal = -1, true
	}
	ok = ok && ok2 && ok3 && okFrom && okTo && okTotal && from <= to && (total < 0 || to < total)
	return from, total, ok
}

// uploadRange reads how many bytes of an upload a registry has: "0-LAST" (distribution-spec, "Pushing a blob in
// chunks"). "0-0" stands for none, as registries use it.
func uploadRange(s string) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	n, ok2 := number(last)
	if !ok || !ok2 || first != "0" {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

// number reads decimal digits and nothing else.
func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < 1<<60 && s[0] >= '0' && s[0] <= '9'
}
