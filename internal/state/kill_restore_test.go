package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/referee"
)

// treeOf is what a folder holds, "" if it is not there.
func treeOf(t testing.TB, dir string) string {
	t.Helper()
	if _, err := os.Lstat(dir); err != nil {
		return ""
	}
	l, err := artifact.CreateLayout(filepath.Join(t.TempDir(), "l"))
	fatal(t, err)
	return capturedFrom(t, l, dir, Options{}).Info.Tree
}

// kept lists what the former states hold.
func kept(t testing.TB, root string) (list []string) {
	t.Helper()
	formers, err := Formers(root)
	fatal(t, err)
	for _, f := range formers {
		list = append(list, treeOf(t, f))
	}
	return list
}

// TestRestoreKilled: the state is the old one or the new one, whole, at all times, and the old one is never lost.
func TestRestoreKilled(t *testing.T) { restoreKilled(t, 6, 10<<20) }

func TestE2ERestoreKilled(t *testing.T) {
	referee.E2E(t)
	restoreKilled(t, 20, 60<<20)
}

func restoreKilled(t *testing.T, kills, size int) {
	dir, store := mind(t), filepath.Join(t.TempDir(), "layout")
	write(t, dir, map[string]string{"models/large.bin": string(noise(3, size)), "memory/large.dat": string(noise(4, size/4))})
	l, err := artifact.CreateLayout(store)
	fatal(t, err)
	next := capturedFrom(t, l, dir, Options{Tags: []string{"next"}}).Info.Tree
	root := filepath.Join(t.TempDir(), "core")
	write(t, root, map[string]string{"boot/startup.txt": "the old one", "memory/old.dat": string(noise(7, 1<<20))})
	old := treeOf(t, root)
	_, took := undisturbed(t, "restore", store, filepath.Join(t.TempDir(), "core"))
	cut := 0
	for _, after := range moments(took, kills) {
		if !killedAt(t, after, "restore", store, root) {
			cut++
		}
		switch now := treeOf(t, root); {
		case now == old:
		case now == next && strings.Contains(fmt.Sprint(kept(t, root)), old):
			_, err := Undo(root)
			fatal(t, err)
			if treeOf(t, root) != old {
				t.Fatal("undo brought something else back")
			}
		default:
			t.Fatalf("the state is torn, or the old one gone: %s, kept %v", now, kept(t, root))
		}
	}
	out, _ := undisturbed(t, "restore", store, root)
	if treeOf(t, root) != next {
		t.Error("it did not end well")
	}
	t.Logf("%d of %d were cut; one takes %v; the last one %s", cut, kills, took, out)
	if cut < kills/4 {
		t.Error("hardly any was cut")
	}
}

// TestRestoreKilledResumes: what came before the kill is kept.
func TestE2ERestoreKilledResumes(t *testing.T) {
	referee.E2E(t)
	dir, store := mind(t), filepath.Join(t.TempDir(), "layout")
	write(t, dir, map[string]string{"models/large.bin": string(noise(3, 150<<20))})
	l, err := artifact.CreateLayout(store)
	fatal(t, err)
	capturedFrom(t, l, dir, Options{Tags: []string{"next"}})
	_, took := undisturbed(t, "restore", store, filepath.Join(t.TempDir(), "core"))
	for part := 9; part > 0; part-- {
		root := filepath.Join(t.TempDir(), "core")
		if killedAt(t, took*time.Duration(part)/10, "restore", store, root) {
			continue
		}
		if out, _ := undisturbed(t, "restore", store, root); out != "kept 0\n" {
			t.Logf("after %d tenths: %s", part, out)
			sameTree(t, dir, root)
			return
		}
	}
	t.Error("nothing was ever kept")
}

// TestE2ESwitchKilledAtEachStep ends the program at each rename, which takes no time that chance could hit.
func TestE2ESwitchKilledAtEachStep(t *testing.T) {
	referee.E2E(t)
	referee.Need(t, "strace")
	l, d, _ := sample(t)
	x, err := Read(t.Context(), l, d, nil)
	fatal(t, err)
	store := filepath.Dir(filepath.Dir(filepath.Dir(mustPath(t, l, d.Digest))))
	raw, err := l.Manifest(t.Context(), d)
	fatal(t, err)
	fatal(t, l.PutManifest(t.Context(), d, raw, "next"))
	for _, call := range []string{"renameat", "renameat2", "fchmodat", "syncfs", "fsync", "unlinkat"} {
		for n := 1; n < 40; n++ {
			root := filepath.Join(t.TempDir(), "core")
			write(t, root, map[string]string{"boot/startup.txt": "the old one"})
			old := treeOf(t, root)
			dead := struck(t, call, n, "restore", store, root)
			now := treeOf(t, root)
			if now != old && (now != x.Info.Tree || !strings.Contains(fmt.Sprint(kept(t, root)), old)) {
				t.Fatalf("%s %d: the state is torn, or the old one gone: %s", call, n, now)
			}
			undisturbed(t, "restore", store, root)
			if treeOf(t, root) != x.Info.Tree || !strings.Contains(fmt.Sprint(kept(t, root)), old) {
				t.Fatalf("%s %d: after the second run the old one is gone: %v", call, n, kept(t, root))
			}
			if !dead {
				t.Logf("%s: %d times", call, n-1)
				break
			}
		}
	}
}

// struck runs the child until it enters the n-th system call of a name, and kills it there.
func struck(t testing.TB, call string, n int, args ...string) (dead bool) {
	t.Helper()
	args = append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), os.Args[0], "child"}, args...)
	err := referee.Command(t, "strace", args...).Run()
	return err != nil
}

// TestE2EMountedSwitchKilledAtEachStep is the same for a state that is a file system of its own, which takes many steps: the
// next restore, or the next undo, first completes the one that was cut off.
func TestE2EMountedSwitchKilledAtEachStep(t *testing.T) {
	referee.E2E(t)
	referee.Need(t, "strace")
	l, d, _ := sample(t)
	x, err := Read(t.Context(), l, d, nil)
	fatal(t, err)
	store := filepath.Dir(filepath.Dir(filepath.Dir(mustPath(t, l, d.Digest))))
	raw, err := l.Manifest(t.Context(), d)
	fatal(t, err)
	fatal(t, l.PutManifest(t.Context(), d, raw, "next"))
	small(t, func(t *testing.T, root string) {
		for _, verb := range []string{"restore", "undo"} {
			args := map[string][]string{"restore": {"restore", store, root}, "undo": {"undo", root}}[verb]
			for n := 1; n < 60; n++ {
				names, err := filepath.Glob(filepath.Join(root, "*"))
				fatal(t, err)
				for _, name := range append(names, filepath.Join(root, ownDir)) {
					fatal(t, os.RemoveAll(name))
				}
				write(t, root, map[string]string{"boot/startup.txt": "the old one", "only/old": "x", "memory/old": "y"})
				old := treeOf(t, root)
				want := x.Info.Tree
				if verb == "undo" {
					undisturbed(t, "restore", store, root)
					want = old
				}
				dead := struck(t, "renameat,renameat2", n, args...)
				if dead || verb == "restore" {
					undisturbed(t, args...)
				}
				if now := treeOf(t, root); now != want || verb == "restore" && !strings.Contains(fmt.Sprint(kept(t, root)), old) {
					t.Fatalf("%s %d: it is %s, kept %v", verb, n, now, kept(t, root))
				}
				if !dead {
					t.Logf("%s: %d renames", verb, n-1)
					break
				}
			}
		}
	})
}

// TestE2EPlaceKilledAtEachStep is the same for single paths, and for the way back.
func TestE2EPlaceKilledAtEachStep(t *testing.T) {
	referee.E2E(t)
	referee.Need(t, "strace")
	for _, verb := range []string{"place", "undo"} {
		for n := 1; n < 40; n++ {
			dir := t.TempDir()
			root, staging := filepath.Join(dir, "core"), filepath.Join(dir, "staging")
			before, after := map[string]string{"a/x": "old", "b": "old"}, map[string]string{"a/x": "new", "b": "new"}
			write(t, root, before)
			write(t, staging, after)
			args := []string{"place", staging, root, "a/x", "b"}
			if verb == "undo" {
				undisturbed(t, args...)
				args = []string{"undo", root}
			}
			dead := struck(t, "renameat,renameat2", n, args...)
			for _, name := range []string{"a/x", "b"} {
				if now := read(t, filepath.Join(root, name)); now != "old" && now != "new" {
					t.Fatalf("%s %d: %s is %q", verb, n, name, now)
				}
				found := ""
				fatal(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
					if err == nil && !d.IsDir() && strings.HasSuffix(p, "/"+name) && !strings.HasPrefix(p, staging) {
						found += read(t, p) + " "
					}
					return err
				}))
				if !strings.Contains(found, "old") {
					t.Fatalf("%s %d: the old %s is gone", verb, n, name)
				}
			}
			if !dead {
				break
			}
		}
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	fatal(t, err)
	return string(data)
}
