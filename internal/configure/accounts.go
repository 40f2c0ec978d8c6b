package configure

import (
	"slices"
	"strconv"
	"strings"
)

// record returns the fields of name's line in an account file (passwd(5), group(5)), or nil.
func record(text, name string) []string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+":") {
			return strings.Split(strings.TrimRight(line, "\n"), ":")
		}
	}
	return nil
}

// freeID returns the lowest id from first on that no line's third field has.
func freeID(text string, first int) int {
	used := map[int]bool{}
	for line := range strings.Lines(text) {
		if f := strings.Split(line, ":"); len(f) > 2 {
			if id, err := strconv.Atoi(f[2]); err == nil {
				used[id] = true
			}
		}
	}
	for used[first] {
		first++
	}
	return first
}

// freeSubID returns the end of the last range of a subid(5) file.
func freeSubID(text string) int {
	end := firstSubID
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			end = max(end, start+count)
		}
	}
	return end
}

// addMember adds user to the last field, a list of members, of each named group's line.
func addMember(text string, groups []string, user string) string {
	var out strings.Builder
	for line := range strings.Lines(endLine(text)) {
		line = strings.TrimSuffix(line, "\n")
		name, _, _ := strings.Cut(line, ":")
		if i := strings.LastIndexByte(line, ':'); i >= 0 && slices.Contains(groups, name) {
			members := strings.FieldsFunc(line[i+1:], func(r rune) bool { return r == ',' })
			if !slices.Contains(members, user) {
				members = append(members, user)
			}
			line = line[:i+1] + strings.Join(members, ",")
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

func endLine(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}
