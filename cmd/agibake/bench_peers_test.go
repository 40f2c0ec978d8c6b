package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/lock"
)

// debian13 is the suite whose mkosi builds, in a tree of its own: what the host has may be of any age.
const debian13 = "trixie"

const mkosiPackages = "mkosi,systemd-repart,systemd-ukify,systemd-boot,ubuntu-keyring,ca-certificates,dosfstools,e2fsprogs,mtools," +
	"grub-pc-bin,grub-common,cpio,zstd,xz-utils,kmod,uidmap,libarchive-tools,util-linux,fdisk"

// enter runs a command with the tree $0 as root and the folder $1 as /bench. Unlike after chroot, programs inside can
// make user namespaces.
const enter = `tree=$0 work=$1; shift
mount --bind "$tree" "$tree"; cd "$tree"; mkdir -p bench old
mount --bind "$work" bench; mount --rbind /dev dev; mount --rbind /sys sys; mount -t proc proc proc; mount -t tmpfs tmpfs run
cat /etc/resolv.conf > etc/resolv.conf
pivot_root . old; umount -l old; cd /bench; exec "$@"`

// peers has other builders make an image of the same packages.
func (b *bench) peers() {
	recipe := b.write("bench")
	ours, _ := b.agibake(recipe)
	b.remove(b.dir + "/out")
	cold := repeat(2, func(int) sample {
		b.remove(b.dir + "/out")
		b.measure(b.bin, "cache", "prune", "--stages")
		ours, _ = b.agibake(recipe)
		return ours
	})
	l, err := lock.Read(strings.TrimSuffix(recipe, ".yaml") + ".lock")
	b.must(err)
	names := append(l.Recipe.RequiredPackages(), l.Recipe.Base.Packages...)
	rows := [][]string{{"build", "result", "time", "CPU", "agibake's time beside it"},
		{"agibake", "qcow2 that starts on BIOS, UEFI and Secure Boot", cold.String(), seconds(cold.middle().cpu) + " s", ""}}
	for _, peer := range []struct {
		name, result string
		run          func(*lock.Lock, []string) (series, error)
	}{
		{"mkosi", "raw disk: GRUB on BIOS, a unified kernel image on UEFI", b.mkosi},
		{"mmdebstrap", "tar, which starts nowhere", b.mmdebstrap},
	} {
		s, err := peer.run(l, names)
		if err != nil {
			b.Logf("left out: %s: %v", peer.name, err)
			rows = append(rows, []string{peer.name, "not measured: " + strings.SplitN(err.Error(), "\n", 2)[0], "", "", ""})
			continue
		}
		rows = append(rows, []string{peer.name, peer.result, s.String(), seconds(s.middle().cpu) + " s", ratio(cold.wall(), s.wall())})
		if peer.name == "mkosi" {
			b.page.target("cold bake to qcow2, beside mkosi measured here", cold.wall()/s.wall(), 0.4, " ×")
		}
	}
	b.page.section("Other builders", "The same Ubuntu 22.04 packages by name, without recommended ones, all downloaded before: mkosi (of Debian 13, in its\n"+
		"own tree) with `--cache-only=always`, mmdebstrap from a folder of the very .debs that agibake has in its cache.")
	b.page.table(rows...)
	b.page.printf("\nQuoted, not measured here, from a machine of 2 cores: mkosi 25.3 cold 140 s (108 s CPU; 183 s when it fills its cache),\n" +
		"68–70 s with its incremental cache when nothing or one file changed; mmdebstrap 65–87 s with its downloads.\n")
}

// prepare runs a command whose time does not count; its failure leaves a peer out.
func (b *bench) prepare(name string, args ...string) error {
	c := exec.CommandContext(b.Context(), name, args...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, tail(string(out)))
	}
	return nil
}

func (b *bench) mkosi(_ *lock.Lock, names []string) (series, error) {
	switch {
	case os.Geteuid() != 0:
		return nil, fmt.Errorf("needs root")
	case find("mmdebstrap") == "":
		return nil, fmt.Errorf("needs mmdebstrap to make a tree of Debian 13")
	}
	tree, work := filepath.Join(b.keep, "debian13"), filepath.Join(b.keep, "mkosi")
	if _, err := os.Stat(tree); err != nil {
		if err := b.prepare("mmdebstrap", "--variant=apt", "--include="+mkosiPackages, debian13, tree+".partial", "http://deb.debian.org/debian"); err != nil {
			return nil, err
		}
		b.must(os.Rename(tree+".partial", tree))
	}
	b.mkdir(work+"/config", work+"/out", work+"/cache", work+"/packages", work+"/scratch")
	config := "[Distribution]\nDistribution=ubuntu\nRelease=jammy\nRepositories=main,restricted,universe\n" +
		"[Output]\nFormat=disk\nImageId=bench\nOutputDirectory=/bench/out\n" +
		"[Build]\nCacheDirectory=/bench/cache\nPackageCacheDirectory=/bench/packages\nWorkspaceDirectory=/bench/scratch\n" +
		"[Content]\nBootable=yes\nBootloader=uki\nBiosBootloader=grub\nHostname=bench\nPackages=" + strings.Join(names, "\n         ") + "\n"
	b.must(os.WriteFile(work+"/config/mkosi.conf", []byte(config), 0o644))
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", enter, tree, work, "mkosi", "--directory", "/bench/config", "--force"}
	defer b.remove(work+"/out", work+"/scratch")
	if full, _ := os.ReadFile(work + "/full"); string(full) != config {
		if err := b.prepare("unshare", append(args, "build")...); err != nil { // brings the downloads
			return nil, err
		}
		b.must(os.WriteFile(work+"/full", []byte(config), 0o644))
	}
	return repeat(2, func(int) sample { return b.measure("unshare", append(args, "--cache-only=always", "build")...) }), nil
}

func (b *bench) mmdebstrap(l *lock.Lock, names []string) (series, error) {
	program := find("mmdebstrap")
	if program == "" {
		return nil, fmt.Errorf("mmdebstrap is not installed")
	}
	store, err := cas.Open(b.keep + "/cache/agibake")
	b.must(err)
	defer store.Close()
	debs := b.dir + "/debs"
	b.mkdir(debs)
	var index bytes.Buffer
	for _, p := range l.System.Packages {
		path := filepath.Join(debs, p.SHA256+".deb")
		b.must(os.Symlink(store.Path(p.SHA256), path))
		control, err := exec.Command("dpkg-deb", "--field", path).Output()
		b.must(err)
		fmt.Fprintf(&index, "%sFilename: ./%s.deb\nSize: %d\nSHA256: %s\n\n", control, p.SHA256, p.Size, p.SHA256)
	}
	b.must(os.WriteFile(debs+"/Packages", index.Bytes(), 0o644))
	defer b.remove(debs, b.dir+"/root.tar")
	return repeat(2, func(int) sample {
		return b.measure(program, "--quiet", "--variant=apt", "--include="+strings.Join(names, ","), l.System.Release, b.dir+"/root.tar",
			"deb [trusted=yes] copy:"+debs+" ./")
	}), nil
}
