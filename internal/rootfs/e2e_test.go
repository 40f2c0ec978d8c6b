package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/layer"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/resolve"
	"github.com/agibake/agibake/internal/tree"
)

// testRecipe is a system with everything that an appliance has, and a small container.
var testRecipe = recipe.Recipe{
	Name: "test", Version: "1", Machine: recipe.Machine{Firmware: []string{"bios", "uefi"}},
	Base: recipe.Base{Distribution: "ubuntu", Release: "jammy", Components: []string{"main", "restricted", "universe"}, Kernel: "linux-image-virtual",
		Packages: []string{"qemu-guest-agent", "open-vm-tools"}},
	Containers: []recipe.Container{{Name: "c", Image: recipe.Image{Packages: &recipe.ImagePackages{
		Distribution: "debian", Release: "bookworm", Components: []string{"main"}, Include: []string{"ca-certificates", "python3-yaml"}}}}},
}

// locked is testRecipe's lock, with all packages in the cache.
var locked = sync.OnceValues(func() (*lock.Lock, error) {
	store, err := openStore()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	o := resolve.Options{Store: store, BaseDir: os.TempDir()}
	l, err := resolve.Resolve(context.Background(), &testRecipe, o, nil)
	if err != nil {
		return nil, err
	}
	return l, resolve.Fetch(context.Background(), l, o, nil)
})

func openStore() (*cas.Store, error) {
	dir, err := cas.Default()
	if err != nil {
		return nil, err
	}
	return cas.Open(dir)
}

// setOptions are the options to build the system or the container of testRecipe.
func setOptions(t *testing.T, kind Kind) Options {
	t.Helper()
	referee.E2E(t)
	l, err := locked()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, fault.HintOf(err))
	}
	store, err := openStore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	set := &l.System
	if kind == Container {
		set = l.Containers[0].Packages
	}
	o := Options{Distribution: set.Distribution, Release: set.Release, Kind: kind, Epoch: l.Epoch, Jobs: runtime.NumCPU(),
		Work: t.TempDir(), Out: filepath.Join(t.TempDir(), "layer.tar")}
	for _, p := range set.Packages {
		o.Debs = append(o.Debs, Deb{Package: p, Path: store.Path(p.SHA256)})
	}
	return o
}

func build(t *testing.T, o Options) time.Duration {
	t.Helper()
	start := time.Now()
	if err := Build(t.Context(), o, nil); err != nil {
		t.Fatalf("%v (hint: %s)", err, fault.HintOf(err))
	}
	if left, _ := os.ReadDir(o.Work); len(left) > 0 {
		t.Errorf("left in the work folder: %v", left)
	}
	return time.Since(start)
}

func TestE2EContainer(t *testing.T) { testSet(t, Container) }
func TestE2ESystem(t *testing.T)    { testSet(t, System) }

// testSet builds a set, a container's also by an ordinary user with another umask, time zone, folder and number of cores,
// and by dpkg itself. The two must be byte-equal, and equal to dpkg's but for what refereeAllows lists.
func testSet(t *testing.T, kind Kind) {
	o := setOptions(t, kind)
	o.DiffID = filepath.Join(t.TempDir(), "diffid")
	t.Logf("%d packages in %v", len(o.Debs), build(t, o))
	checkDiffID(t, o)
	if kind == Container { // a system, with all that goes on it, is baked by another user in TestE2EAppliance
		t.Run("as an ordinary user", func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("SKIPPED: needs root to become another user")
			}
			sameAsUser(t, o)
		})
	}
	t.Run("dpkg agrees", func(t *testing.T) {
		ref := o
		ref.Work, ref.Out = t.TempDir(), filepath.Join(t.TempDir(), "referee.tar")
		if err := namespace.Run(t.Context(), "referee", ref, nil); err != nil {
			t.Fatal(err)
		}
		compareLayers(t, o.Out, ref.Out)
	})
}

// TestE2EFailingScript checks that the error names the package and what its script said.
func TestE2EFailingScript(t *testing.T) {
	o := setOptions(t, Container)
	script := func(name, text string) []item {
		return []item{{name: "./" + name, data: "#!/bin/sh\n" + text, mode: 0o755}}
	}
	for _, c := range []struct{ script, want string }{
		{"postinst", "configure package broken"},
		{"preinst", "preinst of package broken"},
	} {
		bad := o
		bad.Work, bad.Out = t.TempDir(), filepath.Join(t.TempDir(), "layer.tar")
		bad.Debs = append(bad.Debs[:len(o.Debs):len(o.Debs)], makeDeb(t, "broken", ".gz", "", script(c.script, "echo the oven is cold >&2\nexit 7\n"), nil))
		err := Build(t.Context(), bad, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "the oven is cold") {
			t.Errorf("%s: %v", c.script, err)
		}
		for _, dir := range []string{bad.Work, filepath.Dir(bad.Out)} {
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("%s: left behind: %v", c.script, left)
			}
		}
	}
}

// refereeAllows lists every difference from dpkg's own tree that is meant, by path. There is none left: keep it so.
var refereeAllows = map[string]string{}

// compareLayers compares path, type, mode, owner, link, attributes and content; not times, which dpkg leaves to the clock.
func compareLayers(t *testing.T, ours, theirs string) {
	t.Helper()
	all := map[string][2]string{}
	for i, file := range []string{ours, theirs} {
		l, err := layer.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, e := range l.Tree.Entries() {
			pair := all[e.Path]
			pair[i] = describe(t, e)
			all[e.Path] = pair
		}
	}
	for path, pair := range all {
		if pair[0] != pair[1] && refereeAllows[path] == "" {
			t.Errorf("%s\n  ours:   %s\n  dpkg's: %s", path, pair[0], pair[1])
		}
	}
	for path := range refereeAllows {
		if pair := all[path]; pair[0] == pair[1] {
			t.Errorf("%s is in refereeAllows and does not differ", path)
		}
	}
}

func sameAsUser(t *testing.T, o Options) {
	dir, err := os.MkdirTemp("", "rootfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	exe, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), exe, 0o755); err != nil {
		t.Fatal(err)
	}
	u := asUser{Dir: dir, Debs: filepath.Dir(o.Debs[0].Path), Options: o}
	u.Options.DiffID = ""
	u.Options.Work, u.Options.Out, u.Options.Jobs = filepath.Join(dir, "home/work"), filepath.Join(dir, "home/layer.tar"), 1
	u.Options.Debs = nil
	for _, d := range o.Debs {
		d.Path = filepath.Join(dir, "debs", filepath.Base(d.Path))
		u.Options.Debs = append(u.Options.Debs, d)
	}
	if err := namespace.Run(t.Context(), "as-user", u, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cmp", o.Out, u.Options.Out).CombinedOutput(); err != nil {
		compareLayers(t, o.Out, u.Options.Out)
		t.Errorf("the layers of root and of a user differ: %s", out)
	}
}

// asUser is the input of asUserTask.
type asUser struct {
	Dir, Debs string
	Options   Options
}

// asUserTask builds as a user who exists only in this mount namespace, so that the test changes nothing on its host.
func asUserTask(ctx context.Context, input json.RawMessage, _ progress.Func) error {
	const uid = 54321
	var u asUser
	if err := json.Unmarshal(input, &u); err != nil {
		return err
	}
	home, debs := filepath.Join(u.Dir, "home"), filepath.Join(u.Dir, "debs")
	passwd, _ := os.ReadFile("/etc/passwd")
	for name, text := range map[string]string{
		"passwd": string(passwd) + "baker:x:54321:54321::/:/bin/sh\n", "subuid": "baker:300000:65536\n", "subgid": "baker:500000:65536\n",
	} {
		file := filepath.Join(u.Dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/etc/"+name, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, dir := range []string{home, debs} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(u.Debs, debs, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := os.Chmod(u.Dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(home, uid, uid); err != nil {
		return err
	}
	text, err := json.Marshal(u.Options)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "sh", "-c", `umask 077; exec taskset -c 0 "$0"`, filepath.Join(u.Dir, "test"))
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "TZ=Asia/Tokyo", "LANG=ru_RU.UTF-8", "HOME=" + home, buildEnv + "=" + string(text)}
	c.Dir = home
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func checkDiffID(t *testing.T, o Options) {
	t.Helper()
	want, err := os.ReadFile(o.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sha256sum", o.Out).Output()
	if err != nil || !strings.HasPrefix(string(out), strings.TrimPrefix(string(want), "sha256:")) {
		t.Errorf("diff ID %s, sha256sum says %s (%v)", want, out, err)
	}
}

func describe(t *testing.T, e *tree.Entry) string {
	t.Helper()
	sum := ""
	if e.Type == tree.File && e.Size > 0 {
		sum = contentDigest(t, e)
	}
	return fmt.Sprintf("type %d mode %o owner %d:%d size %d link %q attributes %q %s", e.Type, e.Mode, e.UID, e.GID, e.Size, e.Link, e.Xattrs, sum)
}

func contentDigest(t *testing.T, e *tree.Entry) string {
	t.Helper()
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
