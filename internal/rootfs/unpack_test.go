package rootfs

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agibake/agibake/internal/fault"
)

func TestMergedUsr(t *testing.T) {
	for _, c := range []struct {
		name  string
		base  []item
		links string
	}{
		{"base-files with folders", []item{{name: "./"}, {name: "./bin/"}, {name: "./lib/"}}, "bin lib lib32 lib64 libx32 sbin usr"},
		{"base-files with links", []item{{name: "./"}, {name: "./usr/"}, {name: "./bin", link: "usr/bin"}, {name: "./lib", link: "usr/lib"}}, "bin lib usr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, list, err := unpackTest(t,
				makeDeb(t, "tools", ".gz", "", nil, []item{{name: "./bin/"}, {name: "./bin/sh", data: "sh"}, {name: "./bin/bash", link: "./bin/sh", kind: tar.TypeLink}}),
				makeDeb(t, "base-files", ".gz", "", nil, c.base))
			if err != nil {
				t.Fatal(err)
			}
			names, _ := r.readDir(".")
			if got := strings.Join(names, " "); got != c.links {
				t.Errorf("top: %s, want %s", got, c.links)
			}
			if read(t, r, "usr/bin/bash") != "sh" {
				t.Error("the hard link")
			}
			if diff := cmp.Diff([]string{"/bin", "/bin/sh", "/bin/bash"}, list[1].list); diff != "" {
				t.Errorf("the list must hold the paths as shipped: %s", diff)
			}
		})
	}
}

func TestHostileArchives(t *testing.T) {
	outside := t.TempDir()
	for name, items := range map[string][]item{
		"dots":              {{name: "./../escape", data: "x"}},
		"dots inside":       {{name: "./a/../../escape", data: "x"}},
		"newline":           {{name: "./a\nb", data: "x"}},
		"device":            {{name: "./null", kind: tar.TypeChar}},
		"hard link outside": {{name: "./x", link: "/etc/passwd", kind: tar.TypeLink}},
		"below a link":      {{name: "./out", link: outside}, {name: "./out/x", data: "x"}},
		"twice":             {{name: "./x", data: "1"}, {name: "./x", data: "2"}},
		"top link":          {{name: "./bin", link: "/elsewhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, err := unpackTest(t, makeDeb(t, "bad", ".gz", "", nil, items))
			if fault.KindOf(err) != fault.Input {
				t.Errorf("got %v", err)
			}
			for _, p := range []string{filepath.Join(outside, "x"), filepath.Join(filepath.Dir(r.dir), "escape")} {
				if _, err := os.Lstat(p); err == nil {
					t.Errorf("%s was written outside of the root", p)
				}
			}
		})
	}
}

func TestFilesOfSeveralPackages(t *testing.T) {
	file := func(text string) []item { return []item{{name: "./etc/"}, {name: "./etc/x", data: text}} }
	a, b := makeDeb(t, "a", ".gz", "", nil, file("a")), makeDeb(t, "b", ".gz", "Replaces: z, a\n", nil, file("b"))
	c := makeDeb(t, "c", ".gz", "", nil, file("c"))
	for range 20 { // the order of unpacking differs, the result must not
		r, list, err := unpackTest(t, a, b)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, r, "etc/x"); got != "b" {
			t.Fatalf("b replaces a, but its file holds %q", got)
		}
		if diff := cmp.Diff([]string{"/etc"}, list[0].list); diff != "" {
			t.Fatalf("a still lists the file: %s", diff)
		}
	}
	if _, _, err := unpackTest(t, a, c); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "a and c both ship /etc/x") {
		t.Errorf("got %v", err)
	}
	d := makeDeb(t, "d", ".gz", "", nil, []item{{name: "./etc/"}, {name: "./etc/x/"}})
	if _, _, err := unpackTest(t, a, d); fault.KindOf(err) != fault.Input || !strings.Contains(err.Error(), "is a folder in one") {
		t.Errorf("got %v", err)
	}
}

func TestSharedFolderFollowsRank(t *testing.T) {
	a := makeDeb(t, "a", ".gz", "", nil, []item{{name: "./srv/", mode: 0o2775}})
	b := makeDeb(t, "b", ".gz", "", nil, []item{{name: "./srv/", mode: 0o700}, {name: "./srv/b", data: strings.Repeat("b", 1<<20)}})
	for range 10 {
		r, _, err := unpackTest(t, b, a)
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := os.Stat(filepath.Join(r.dir, "srv")); s.Mode() != os.ModeDir|os.ModeSetgid|0o775 {
			t.Fatalf("mode %v", s.Mode())
		}
	}
}

func TestRegister(t *testing.T) {
	control := "Multi-Arch: same\nStatus: lie\n  more\nDepends: b\n"
	scripts := []item{
		{name: "./conffiles", data: "/etc/x\n", mode: 0o644}, {name: "./postinst", data: "#!/bin/sh\n", mode: 0o755},
		{name: "./triggers", data: "# text\ninterest-noawait /usr/share/x\ninterest y\nactivate z\n", mode: 0o644},
	}
	d := makeDeb(t, "a", ".gz", control, scripts, []item{{name: "./"}, {name: "./etc/"}, {name: "./etc/x", data: "x\n"}, {name: "./etc/y", data: "y\n"}})
	r, list, err := unpackTest(t, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := register(r, list, 2000); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"status": "Package: a\nStatus: install ok unpacked\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@b.c>\nMulti-Arch: same\nDepends: b\n" +
			"Description: test\n long\nConffiles:\n /etc/x 401b30e3b8b5d629635a5c613cdb7919\n\n",
		"info/a:all.list":     "/.\n/etc\n/etc/x\n/etc/y\n",
		"info/a:all.postinst": "#!/bin/sh\n",
		"info/a:all.md5sums":  "009520053b00386d1173f3988c55d192  etc/y\n",
		"triggers/File":       "/usr/share/x a:all/noawait\n",
		"triggers/y":          "a:all\n",
	} {
		if diff := cmp.Diff(want, read(t, r, dpkgDir+name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestIdlePreinst(t *testing.T) {
	helper := "dpkg-maintscript-helper rm_conffile /etc/x 1\\~ -- \"$@\"\n"
	for text, want := range map[string]bool{
		"#!/bin/sh\nset -e\n# note\n" + helper + "\nexit 0\n":  true,
		"#!/bin/sh\n" + helper + "rm -rf /\n":                  false,
		"#!/bin/sh\ndpkg-maintscript-helper x; id -- \"$@\"\n": false,
	} {
		if got := idle(text); got != want {
			t.Errorf("idle(%q) = %v", text, got)
		}
	}
}

func TestFullDiskIsSaid(t *testing.T) {
	err := diskFull(errors.New("configure package x: exit status 1; it said:\ncp: write error: No space left on device"), "/cache/work")
	if !strings.Contains(fault.HintOf(err), "/cache/work") {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	refused := fault.Hint(fault.Mark(fault.Missing, syscall.ENOSPC), "raise user.max_user_namespaces")
	if got := fault.HintOf(diskFull(refused, "/w")); got != "raise user.max_user_namespaces" {
		t.Errorf("hint %q", got)
	}
}
