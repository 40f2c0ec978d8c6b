package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// stateTool captures a state and restores it. Its bench has an environment of its own: caches and keys.
type stateTool struct {
	*bench
	name, program, repo string
	setup               []string
	capture             func(n int) []string
	restore, verify     []string
	core                string // where the restored state lies, below the part's folder
	took                map[string]series
	size, added         float64 // of the repository after the first capture, and what the second one adds
}

// state captures a mind beside restic and borg: for the first time, changed by 1 %, and unchanged; and brings it back.
func (b *bench) state() {
	var missing []string
	for name, pkg := range map[string]string{"restic": "restic", "borg": "borgbackup", "node": "nodejs", "npm": "npm"} {
		if find(name) == "" {
			missing = append(missing, pkg)
		}
	}
	if slices.Sort(missing); missing != nil {
		b.Skipf("SKIPPED: apt-get install %s", strings.Join(missing, " "))
	}
	m := benchMind{weights: setting(b.T, "AGIBAKE_BENCH_STATE", 2048) << 20, vectors: 5000}
	m.text = int64(float64(m.weights) / (2 << 30) * 300e6)
	if need := 10 * (m.weights + m.text + 100<<20); b.free() < need {
		b.Skipf("SKIPPED: %s has no room for %d MiB", b.dir, need>>20)
	}
	dir := b.dir + "/mind"
	b.mkdir(dir)
	defer b.remove(dir)
	m.write(b, dir+"/original")
	tools := b.stateTools(dir)
	for i := range b.runs {
		b.stateRun(m, dir, tools, i == 0)
	}
	bytes := float64(folderSize(b, dir+"/original"))
	b.remove(dir)
	var alone []stateMemory
	if setting(b.T, "AGIBAKE_BENCH_LARGE", int64(min(b.runs-1, 1))) > 0 {
		alone = append(alone, b.stateAlone(dir, tools[0], m.weights)...)
		alone = append(alone, b.stateAlone(dir, tools[0], 10*m.weights)...)
	}
	b.statePage(m, bytes, tools, alone)
}

// stateTools are agibake, restic and borg, plain and sealed.
func (b *bench) stateTools(dir string) []*stateTool {
	key, err := age.GenerateX25519Identity()
	b.must(err)
	b.must(os.WriteFile(dir+".key", []byte(key.String()+"\n"), 0o600))
	one := func(name, program, core string) *stateTool {
		home := filepath.Join(dir, strings.NewReplacer(", ", "-").Replace(name))
		t := &stateTool{name: name, program: program, repo: home + "/repo", core: dir + "/" + core, took: map[string]series{}}
		own := *b
		own.dir, own.env = dir, append(b.env[:len(b.env):len(b.env)], "XDG_CACHE_HOME="+home+"/cache", "XDG_CONFIG_HOME="+home+"/config", "XDG_STATE_HOME="+home+"/state",
			"RESTIC_REPOSITORY="+t.repo, "RESTIC_CACHE_DIR="+home+"/cache", "RESTIC_PASSWORD=bench",
			"BORG_REPO="+t.repo, "BORG_BASE_DIR="+home, "BORG_PASSPHRASE=bench", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes")
		t.bench = &own
		return t
	}
	agibake := func(name string, recipient, identity []string) *stateTool {
		t := one(name, b.bin, "out")
		at := "oci:" + t.repo
		t.capture = func(int) []string { return append([]string{"state", "capture", "core", "--to", at}, recipient...) }
		t.restore = append([]string{b.bin, "state", "restore", at, "--to", "out"}, identity...)
		t.verify = append([]string{b.bin, "state", "verify", at}, identity...)
		return t
	}
	restic := one("restic", "restic", "out/core")
	restic.setup = []string{"restic", "init", "--repository-version", "2"}
	restic.capture = func(int) []string { return []string{"backup", "core"} }
	restic.restore = []string{"restic", "restore", "latest", "--target", "out"}
	restic.verify = []string{"restic", "check", "--read-data"}
	borg := func(mode string) *stateTool {
		t := one("borg, "+mode, "borg", "out/core")
		t.setup = []string{"borg", "init", "--encryption", mode}
		t.capture = func(n int) []string { return []string{"create", fmt.Sprint("::", n), "core"} }
		t.restore = []string{"sh", "-c", "mkdir out && cd out && exec borg extract ::2"}
		t.verify = []string{"borg", "check", "--verify-data"}
		return t
	}
	return []*stateTool{agibake("agibake", nil, nil), restic, borg("repokey"),
		agibake("agibake, sealed", []string{"--recipient", key.Recipient().String()}, []string{"--identity", dir + ".key"}), borg("none")}
}

// stateRun measures all tools once. Each does the same before the next thing is done, so that all see the same files.
func (b *bench) stateRun(m benchMind, dir string, tools []*stateTool, compare bool) {
	b.remove(dir + "/core")
	b.measure("cp", "-a", dir+"/original", dir+"/core")
	for _, t := range tools {
		b.remove(filepath.Dir(t.repo))
		b.mkdir(filepath.Dir(t.repo))
		if t.setup != nil {
			t.measure(t.setup[0], t.setup[1:]...)
		}
		t.do("first", append([]string{t.program}, t.capture(0)...)...)
		t.size = float64(folderSize(b, t.repo))
	}
	m.change(b, dir+"/original", dir+"/core")
	time.Sleep(2 * time.Second) // files that changed this very second are remembered by none
	for _, t := range tools {
		t.do("second", append([]string{t.program}, t.capture(1)...)...)
		t.added = float64(folderSize(b, t.repo)) - t.size
	}
	for _, t := range tools {
		t.do("third", append([]string{t.program}, t.capture(2)...)...)
	}
	for _, t := range tools {
		t.warm()
		t.do("restore", t.restore...)
		for _, name := range append([]string{benchWeights}, benchTexts...) {
			if compare {
				b.sameFile(filepath.Join(dir, "core", name), filepath.Join(t.core, name))
			}
		}
		b.remove(dir + "/out")
		t.warm()
		t.do("verify", t.verify...)
		b.remove(filepath.Dir(t.repo))
	}
}

// warm brings what a tool stored into the page cache, so that tools are compared and not the disk: agibake writes past the
// cache, and the others leave what they wrote in it.
func (t *stateTool) warm() {
	unix.Sync()
	t.must(filepath.WalkDir(filepath.Dir(t.repo), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err == nil {
			_, err = io.Copy(io.Discard, f)
			f.Close()
		}
		return err
	}))
}

// do measures a command to where its files are on the disk: only agibake flushes what it restores by itself.
func (t *stateTool) do(verb string, args ...string) {
	t.Helper()
	s := t.measure(args[0], args[1:]...)
	t.took[verb+", unflushed"] = append(t.took[verb+", unflushed"], s)
	began := time.Now()
	f, err := os.Open(t.dir)
	t.must(err)
	defer f.Close()
	t.must(unix.Syncfs(int(f.Fd())))
	s.wall += time.Since(began).Seconds()
	t.took[verb] = append(t.took[verb], s)
}

// stateMemory is what agibake held at most with a model of some weights, all in bytes.
type stateMemory struct{ weights, capture, restore int64 }

// stateAlone captures and restores a model alone, once, for the memory that it takes.
func (b *bench) stateAlone(dir string, t *stateTool, size int64) []stateMemory {
	if need := 2*size + 1<<30; b.free() < need {
		b.Logf("left out: %s has no room for %d MiB", b.dir, need>>20)
		return nil
	}
	defer b.remove(dir)
	b.mkdir(dir+"/core/models", filepath.Dir(t.repo))
	b.must(writeTensors(filepath.Join(dir, "core", benchWeights), size))
	held := stateMemory{weights: size, capture: t.measure(t.program, t.capture(0)...).largest}
	b.remove(dir + "/core") // there may be no room for three
	held.restore = t.measure(t.restore[0], t.restore[1:]...).largest
	return []stateMemory{held}
}

// folderSize is the number of bytes in the files of a folder.
func folderSize(b *bench, dir string) (n int64) {
	b.Helper()
	b.must(filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}
