package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/agibake/agibake/internal/disk/ext4"
	"github.com/agibake/agibake/internal/format"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/tree"
)

// benchChildren are programs that TestBench runs, so that each has its own time and memory.
var benchChildren = map[string]func(){"bench-encode": child(encodeChild), "bench-ext4": child(ext4Child),
	"bench-registry": child(registryChild)}

func child(run func(args []string) error) func() {
	return func() {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// encodeChild takes RAW, the outputs' path without extension, the compression of qcow2, and formats.
func encodeChild(args []string) error {
	raw, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer raw.Close()
	var outs []format.Output
	for _, kind := range args[3:] {
		outs = append(outs, format.Output{Format: format.Kind(kind), Path: args[1] + "." + kind})
	}
	o := format.Options{Compression: args[2], OVA: ova.Spec{Name: "bench", Version: "1.0.0", CPUs: 2, MemoryMiB: 4096, UEFI: true}}
	_, err = format.Encode(context.Background(), raw, outs, o, nil)
	return err
}

// rawDisk bakes the recipe to a raw disk and returns its path.
func (b *bench) rawDisk() string {
	path := b.dir + "/disk.raw"
	if _, err := os.Stat(path); err != nil {
		b.agibake(b.write("bench"), "--format", "raw")
		b.must(os.Rename(b.dir+"/out/bench-1.0.0/bench-1.0.0.raw", path))
		b.remove(b.dir + "/out")
	}
	return path
}

func (b *bench) formats() {
	qemu := find("qemu-img")
	if qemu == "" {
		b.Fatal("qemu-img is missing: apt-get install qemu-utils")
	}
	raw := b.rawDisk()
	ours := func(compression string, kinds ...string) (series, map[string]int64) {
		s := repeat(b.runs, func(int) sample {
			return b.measure("bench-encode", append([]string{raw, b.dir + "/ours", compression}, kinds...)...)
		})
		sizes := map[string]int64{}
		for _, kind := range kinds {
			sizes[kind] = b.fileSize(b.dir + "/ours." + kind)
		}
		return s, sizes
	}
	theirs := func(args ...string) (series, int64) {
		out := b.dir + "/theirs"
		s := repeat(b.runs, func(int) sample {
			return b.measure(qemu, append(append([]string{"convert", "-f", "raw"}, args...), raw, out)...)
		})
		return s, b.fileSize(out)
	}
	rows := [][]string{{"from the raw disk", "agibake", "qemu-img", "time", "sizes", "size", "memory"}}
	add := func(what string, a series, x int64, z series, y int64) {
		rows = append(rows, []string{what, a.String(), z.String(), ratio(a.wall(), z.wall()), mib(x) + " : " + mib(y),
			ratio(float64(x), float64(y)), mib(a.peak()) + " : " + mib(z.peak())})
	}
	zstd, zstdSize := theirs("-O", "qcow2", "-c", "-o", "compression_type=zstd")
	zlib, zlibSize := theirs("-O", "qcow2", "-c", "-o", "compression_type=zlib")
	vmdk, vmdkSize := theirs("-O", "vmdk", "-o", "subformat=streamOptimized")
	a, size := ours("zstd", "qcow2")
	add("qcow2, zstd", a, size["qcow2"], zstd, zstdSize)
	a, size = ours("zlib", "qcow2")
	add("qcow2, zlib", a, size["qcow2"], zlib, zlibSize)
	a, size = ours("zstd", "vmdk")
	add("streamOptimized VMDK", a, size["vmdk"], vmdk, vmdkSize)
	a, size = ours("zstd", "ova")
	add("OVA : VMDK", a, size["ova"], vmdk, vmdkSize)
	a, size = ours("zstd", "qcow2", "ova")
	both := zstd.then(vmdk)
	add("qcow2, zstd, and OVA : one after the other", a, size["qcow2"]+size["ova"], both, zstdSize+vmdkSize)
	b.page.target("qcow2 (zstd) and OVA, beside qemu-img's two conversions", a.wall()/both.wall(), 0.25, " ×")
	b.page.target("their sizes", max(float64(size["qcow2"])/float64(zstdSize), float64(size["ova"])/float64(vmdkSize)), 1.05, " ×")
	b.page.section("Encoders", "The raw disk of the bake above, "+mib(b.fileSize(raw))+", in programs of their own. agibake also computes the SHA-256 of what it writes.")
	b.page.table(rows...)
	b.remove(b.dir+"/ours.qcow2", b.dir+"/ours.vmdk", b.dir+"/ours.ova", b.dir+"/theirs")
}

func (b *bench) ext4() {
	mke2fs := find("mke2fs")
	if mke2fs == "" || os.Geteuid() != 0 {
		b.Skip("SKIPPED: needs mke2fs and root, who owns the tree's files")
	}
	b.measure(b.bin, "cache", "prune", "--stages") // so that there is one layer only
	b.agibake(b.write("bench"))
	layers, _ := filepath.Glob(b.keep + "/cache/agibake/stages/rootfs/*/layer.tar")
	if len(layers) == 0 {
		b.Fatal("the bake left no layer")
	}
	folder, image := b.dir+"/tree", b.dir+"/fs.img"
	b.mkdir(folder)
	b.measure("tar", "-xpf", layers[0], "-C", folder)
	const size = "4294967296"
	again := func(run func() sample) series {
		return repeat(b.runs, func(int) sample { b.remove(image); return run() })
	}
	ours := again(func() sample { return b.measure("bench-ext4", folder, image, size) })
	theirs := again(func() sample { return b.measure(mke2fs, "-q", "-t", "ext4", "-d", folder, image, "4G") })
	b.remove(folder, image)
	b.page.section("File system", "The tree of the bake above, from a folder into an ext4 file system of 4 GiB, flushed.")
	b.page.table([]string{"writer", "time", "CPU", "memory"},
		[]string{"agibake", ours.String(), seconds(ours.middle().cpu) + " s", mib(ours.peak())},
		[]string{"mke2fs -d", theirs.String(), seconds(theirs.middle().cpu) + " s", mib(theirs.peak())},
		[]string{"", ratio(ours.wall(), theirs.wall()), "", ""})
}

// ext4Child takes a folder, the image and its size in bytes.
func ext4Child(args []string) error {
	size, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	t, err := readFolder(args[0])
	if err != nil {
		return err
	}
	f, err := os.Create(args[1])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := ext4.Write(context.Background(), f, t, ext4.Options{Size: size, Label: "bench"}, nil); err != nil {
		return err
	}
	return f.Sync()
}

// readFolder makes a tree of the files, folders and links of a folder.
func readFolder(root string) (*tree.Tree, error) {
	t, first := tree.New(), map[uint64]string{}
	return t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		st := info.Sys().(*syscall.Stat_t)
		e := tree.Entry{Path: name, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), ModTime: st.Mtim.Sec}
		switch other := first[st.Ino]; {
		case info.IsDir():
			e.Type = tree.Dir
		case info.Mode()&fs.ModeSymlink != 0:
			e.Type = tree.Symlink
			e.Link, err = os.Readlink(path)
		case !info.Mode().IsRegular():
			return nil
		case other != "":
			e.Type, e.Link = tree.Hardlink, other
		default:
			e.Size, e.Open = st.Size, func() (io.ReadCloser, error) { return os.Open(path) }
			if st.Nlink > 1 {
				first[st.Ino] = name
			}
		}
		if err != nil {
			return err
		}
		return t.Put(e)
	})
}
