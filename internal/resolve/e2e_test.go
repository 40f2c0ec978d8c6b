package resolve

import (
	"context"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/lock"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/referee"
)

// TestE2EArchives resolves against the distributions' own archives, with the keys that agibake ships.
func TestE2EArchives(t *testing.T) {
	referee.E2E(t)
	dir, err := cas.Default()
	if err != nil {
		t.Fatal(err)
	}
	s, err := cas.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	off := false
	r := &recipe.Recipe{
		Base:    recipe.Base{Distribution: "ubuntu", Release: "jammy", Kernel: "linux-image-virtual", Packages: []string{"docker.io"}},
		Machine: recipe.Machine{Firmware: []string{"bios", "uefi"}},
		Containers: []recipe.Container{
			{Name: "new", Image: recipe.Image{Packages: &recipe.ImagePackages{Distribution: "debian", Release: "testing", CheckValidUntil: &off, Include: []string{"llama.cpp-tools"}}}},
			{Name: "stable", Image: recipe.Image{Packages: &recipe.ImagePackages{Distribution: "debian", Release: "trixie", Include: []string{"hello"}}}},
		},
	}
	for _, state := range []string{"first", "again"} {
		began := time.Now()
		l, err := Resolve(context.Background(), r, Options{Store: s, BaseDir: t.TempDir()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, bytes := lock.Total(l)
		t.Logf("%s: %d packages, %.1f MB, %.1f s", state, n, float64(bytes)/1e6, time.Since(began).Seconds())
		for _, name := range []string{"docker.io", "containerd", "libc6", "linux-image-virtual", "shim-signed"} {
			if find(l, name) == nil {
				t.Errorf("no %s", name)
			}
		}
		if len(l.System.Archives) != 3 || len(l.Containers[1].Packages.Archives) != 3 || l.System.Archives[0].SignedBy != fingerprints["ubuntu"][1] {
			t.Errorf("%+v", l.System.Archives)
		}
	}
}
