package ext4

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/tree"
)

// The benchmarks write the folder that AGIBAKE_BENCH_TREE names (default /usr/share), ours and mke2fs's way.

func benchTree(b *testing.B) (string, *tree.Tree, int64) {
	root := os.Getenv("AGIBAKE_BENCH_TREE")
	if root == "" {
		root = "/usr/share"
	}
	t := folder(b, root)
	size := int64(0)
	for _, e := range t.Entries() {
		size += e.Size
	}
	return root, t, size
}

func BenchmarkWrite(b *testing.B) {
	_, t, size := benchTree(b)
	b.SetBytes(size)
	for b.Loop() {
		os.Remove(image(b, t, Options{Size: 12 << 30, Label: "bench"}))
	}
}

func BenchmarkMke2fs(b *testing.B) {
	root, _, size := benchTree(b)
	referee.Need(b, "mke2fs")
	b.SetBytes(size)
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "fs.img")
		referee.Run(b, "mke2fs", "-q", "-t", "ext4", "-d", root, path, "12G")
		os.Remove(path)
	}
}
