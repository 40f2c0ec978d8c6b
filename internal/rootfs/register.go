package rootfs

import (
	"fmt"
	"slices"
	"strings"
)

const dpkgDir = "var/lib/dpkg/"

// register writes dpkg's database (dpkg(1), FILES) as `dpkg --unpack` of all packages would leave it, with one
// difference: configuration files stand under their final names, and the status file holds their digests already.
func register(r *root, debs []*deb, epoch int64) error {
	var status strings.Builder
	t := triggers{explicit: map[string][]string{}}
	for _, d := range sortedByName(debs) {
		status.WriteString(d.statusParagraph())
		if err := d.writeInfo(r, epoch); err != nil {
			return err
		}
	}
	for _, d := range dpkgOrder(debs) {
		if err := t.add(d); err != nil {
			return err
		}
	}
	files := []struct{ name, text string }{
		{"status", status.String()}, {"available", ""}, {"info/format", "1\n"},
		{"triggers/File", strings.Join(t.files, "")}, {"triggers/Unincorp", ""},
	}
	for name, lines := range t.explicit {
		files = append(files, struct{ name, text string }{"triggers/" + name, strings.Join(lines, "")})
	}
	for _, f := range files {
		if err := r.writeFile(dpkgDir+f.name, []byte(f.text), 0o644, epoch); err != nil {
			return err
		}
	}
	return r.mkdirAll(dpkgDir + "updates")
}

func sortedByName(debs []*deb) []*deb {
	return slices.SortedFunc(slices.Values(debs), func(a, b *deb) int {
		return strings.Compare(a.Name+" "+a.Architecture, b.Name+" "+b.Architecture)
	})
}

// statusParagraph is the package's entry in dpkg's status file, unpacked and never configured before.
func (b *deb) statusParagraph() string {
	var w strings.Builder
	skip := false
	for line := range strings.Lines(b.control.text) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			name, _, _ := strings.Cut(line, ":")
			skip = strings.EqualFold(name, "Status") || strings.EqualFold(name, "Conffiles")
		}
		if skip {
			continue
		}
		w.WriteString(line)
		if strings.HasPrefix(strings.ToLower(line), "package:") {
			w.WriteString("Status: install ok unpacked\n")
		}
	}
	if c := b.script("conffiles"); c != nil && len(b.conffiles) > 0 {
		w.WriteString("Conffiles:\n")
		for line := range strings.Lines(string(c.data)) {
			if sum := b.conffiles[strings.TrimSpace(line)]; sum != "" {
				fmt.Fprintf(&w, " %s %s\n", strings.TrimSpace(line), sum)
			}
		}
	}
	w.WriteString("\n")
	return w.String()
}

// writeInfo writes the package's files in dpkg's info folder.
func (b *deb) writeInfo(r *root, epoch int64) error {
	stem := dpkgDir + "info/" + b.dpkgName() + "."
	if err := r.writeFile(stem+"list", []byte(strings.Join(b.list, "\n")+"\n"), 0o644, epoch); err != nil {
		return err
	}
	if b.script("md5sums") == nil && len(b.md5) > 0 {
		if err := r.writeFile(stem+"md5sums", []byte(strings.Join(b.md5, "")), 0o644, epoch); err != nil {
			return err
		}
	}
	for _, s := range b.scripts {
		if err := r.writeFile(stem+s.name, s.data, s.mode, min(s.mtime, epoch)); err != nil {
			return err
		}
	}
	return nil
}

// triggers is dpkg's database of who wants to hear of what (deb-triggers(5)).
type triggers struct {
	files    []string            // lines of triggers/File
	explicit map[string][]string // name → lines of triggers/NAME
}

func (t *triggers) add(b *deb) error {
	s := b.script("triggers")
	if s == nil {
		return nil
	}
	for line := range strings.Lines(string(s.data)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasPrefix(f[0], "interest") {
			continue
		}
		who := b.dpkgName()
		if f[0] == "interest-noawait" {
			who += "/noawait"
		}
		switch {
		case strings.HasPrefix(f[1], "/"):
			t.files = append(t.files, f[1]+" "+who+"\n")
		case strings.Contains(f[1], "/") || f[1] == "File" || f[1] == "Unincorp" || f[1] == "Lock":
			return inputError("package %s: bad trigger name %q", b.Name, f[1])
		default:
			t.explicit[f[1]] = append(t.explicit[f[1]], who+"\n")
		}
	}
	return nil
}
