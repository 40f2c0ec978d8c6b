package configure

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// unpack writes the files and links of base and layer to a folder.
func unpack(t *testing.T, trees ...*tree.Tree) string {
	t.Helper()
	dir := t.TempDir()
	for _, tr := range trees {
		for _, e := range tr.Entries() {
			p := filepath.Join(dir, e.Path)
			var err error
			switch e.Type {
			case tree.Dir:
				err = os.MkdirAll(p, 0o755)
			case tree.Symlink:
				os.Remove(p)
				err = os.Symlink(e.Link, p)
			default:
				os.Remove(p) // a link there must not lead the write to this machine's own files
				err = os.WriteFile(p, []byte(content(t, e)), os.FileMode(e.Mode&0o777|0o600))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestAccountFilesAgainstPwck(t *testing.T) {
	referee.Need(t, "pwck", "grpck")
	o := options(t)
	o.Base.MkdirAll("root", 0)
	o.Lock.Recipe.Access.Users = append(o.Lock.Recipe.Access.Users, recipe.User{Name: "second", Sudo: true})
	dir := unpack(t, o.Base, layer(t, o))
	// Both ask this machine, too, for homes, shells and the other file's names; only their words on the lines count.
	foreign := []string{"directory", "program", "no changes", "no group", "no user", "delete member"}
	for _, args := range [][]string{{"pwck", "passwd", "shadow"}, {"grpck", "group", "gshadow"}} {
		out, _ := referee.Command(t, args[0], "-r", dir+"/etc/"+args[1], dir+"/etc/"+args[2]).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if !slices.ContainsFunc(foreign, func(s string) bool { return strings.Contains(line, s) }) {
				t.Errorf("%s: %s", args[0], line)
			}
		}
	}
	data, err := os.ReadFile(dir + "/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"adm:x:4:agi,second\n", "fuse:x:119:daemon,agi\n", "agi:x:1000:\n", "second:x:1001:\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("group lacks %q:\n%s", want, data)
		}
	}
}

func TestEscapePathAgainstSystemd(t *testing.T) {
	for _, p := range []string{"/mnt/texts", "/", "/srv/.x y", "/a-b/c_d", "/ä/ü", `/b\c`, "/a:b.c", "/.hidden", "/a/.b", "/x@y,z"} {
		if want := strings.TrimSpace(referee.Run(t, "systemd-escape", "--path", p)); escapePath(p) != want {
			t.Errorf("escapePath(%q) = %q, systemd says %q", p, escapePath(p), want)
		}
	}
}

// TestUnitsAgainstSystemd lets systemd-analyze read our units in a tree that has what they refer to.
func TestUnitsAgainstSystemd(t *testing.T) {
	referee.Need(t, "systemd-analyze")
	o := options(t)
	l := layer(t, o)
	dir := unpack(t, o.Base, l)
	for _, e := range l.Entries() {
		if filepath.Dir(e.Path) != "etc/systemd/system" || e.Type != tree.File {
			continue
		}
		cmd := referee.Command(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, e.Path))
		cmd.Env = append(cmd.Env, "SYSTEMD_UNIT_PATH="+dir+"/etc/systemd/system:/lib/systemd/system", "SYSTEMD_LOG_LEVEL=warning")
		out, err := cmd.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			// The programs are in the appliance, not here.
			if !strings.Contains(line, "is not executable") && !strings.Contains(line, "not found") {
				t.Errorf("%s: %s", e.Path, line)
			}
		}
		if err != nil && len(out) == 0 {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
}

func TestMenuAgainstGRUB(t *testing.T) {
	dir := unpack(t, layer(t, options(t)))
	referee.Run(t, "grub-script-check", filepath.Join(dir, "boot/grub/grub.cfg"))
}

func TestModelURL(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8081:80": "http://127.0.0.1:8081", "80:81": "http://127.0.0.1:80", "0.0.0.0:80:81/tcp": "http://127.0.0.1:80",
		"[::1]:80:81": "http://[::1]:80", "10.0.0.1:80:81": "http://10.0.0.1:80", "80": "", "70000:80": "",
	} {
		got, err := modelURL([]recipe.Container{{Name: "no ports"}, {Name: "x", Ports: []string{in}}})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("modelURL(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	list := []string{"5.4.0-9-generic", "5.15.0-99-generic", "5.15.0-204-generic", "6.1.0-2-amd64"}
	for i := range list {
		for j := range list {
			if got := compareVersions(list[i], list[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("compareVersions(%s, %s) = %d", list[i], list[j], got)
			}
		}
	}
}

func TestInstallSection(t *testing.T) {
	in := installSection("[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy=a.target \\\n b.target\nWantedBy = c.target\nAlias=\n")
	if got := strings.Join(in["WantedBy"], " "); got != "a.target b.target c.target" || len(in) != 1 {
		t.Errorf("installSection = %v", in)
	}
}
