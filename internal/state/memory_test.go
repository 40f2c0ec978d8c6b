package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/referee"
	"github.com/agibake/agibake/internal/seal"
)

const mostMemory = 300 // MiB

// measured does one thing and prints how much memory it took in KiB: VERB FOLDER LAYOUT [SECRET].
func measured(ctx context.Context, args []string) error {
	l, err := artifact.CreateLayout(args[2])
	if err != nil {
		return err
	}
	var key *Seal
	if len(args) > 3 {
		key = &Seal{}
		if key.Secret, err = seal.Load(args[3]); err != nil {
			return err
		}
	}
	opener := func(context.Context, []seal.Wrap) (*seal.Secret, error) { return key.Secret, nil }
	switch args[0] {
	case "capture":
		var list []Found
		if list, err = Scan(ctx, args[1], ScanOptions{}); err == nil {
			_, err = Capture(ctx, l, list, Options{Seal: key, Tags: []string{Latest}, Info: Info{Created: time.Unix(1e9, 0)}})
		}
	case "restore", "verify":
		var x *Snapshot
		if x, err = Open(ctx, l, Latest, opener); err == nil && args[0] == "restore" {
			_, err = x.Restore(ctx, l, args[1], RestoreOptions{})
		} else if err == nil {
			_, err = x.Verify(ctx, l, nil)
		}
	case "open": // a hostile one, which is to be refused
		if _, err = Open(ctx, l, Latest, opener); err != nil {
			fmt.Fprintf(os.Stderr, "%.200s\n", err)
			err = nil
		}
	}
	if err == nil { // getrusage would tell of the parent as well
		var status []byte
		status, err = os.ReadFile("/proc/self/status")
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println(strings.Fields(peak)[0])
	}
	return err
}

// fillNoise writes a file.
func fillNoise(t testing.TB, path string, seed byte, size int64) {
	t.Helper()
	fatal(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	fatal(t, err)
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.CopyN(w, rand.NewChaCha8([32]byte{seed}), size)
	fatal(t, err)
	fatal(t, w.Flush())
	fatal(t, f.Close())
}

func within(t *testing.T, most int, args ...string) {
	t.Helper()
	out, took := undisturbed(t, append([]string{"measured"}, args...)...)
	var kib int
	_, err := fmt.Sscan(out, &kib)
	fatal(t, err)
	mib := kib >> 10
	t.Logf("%s: %d MiB in %v", args[0], mib, took)
	if mib > most {
		t.Errorf("%s: more than %d MiB", args[0], most)
	}
}

// TestE2EMemory: memory is bounded whatever the size of the files, in either lane, sealed or not.
func TestE2EMemory(t *testing.T) {
	referee.E2E(t)
	secret, err := seal.NewSecret()
	fatal(t, err)
	file := filepath.Join(t.TempDir(), "secret")
	fatal(t, secret.Save(file))
	for name, sealing := range map[string][]string{"open": nil, "sealed": {file}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, store, to := filepath.Join(dir, "core"), filepath.Join(dir, "layout"), filepath.Join(dir, "restored")
			fillNoise(t, filepath.Join(from, "models/large.bin"), 1, 2<<30)
			fillNoise(t, filepath.Join(from, "memory/large.dat"), 2, 512<<20)
			within(t, mostMemory, append([]string{"capture", from, store}, sealing...)...)
			within(t, mostMemory, append([]string{"verify", from, store}, sealing...)...)
			within(t, mostMemory, append([]string{"restore", to, store}, sealing...)...)
			within(t, mostMemory, append([]string{"restore", to, store}, sealing...)...) // over itself
		})
	}
}

// TestE2EMemoryOfHostileTrees: a small blob that unpacks to the largest tree, of as many entries or pieces as there can be.
func TestE2EMemoryOfHostileTrees(t *testing.T) {
	referee.E2E(t)
	sum := sumOf(nil).String()
	var folders strings.Builder
	folders.WriteString(treeHead)
	for i := range maxEntries {
		fmt.Fprintf(&folders, "d 0755 0 0 %07d%s\n", i, strings.Repeat("x", 200))
	}
	piece := "p 67108864 " + sum + "\n"
	for name, tree := range map[string]string{
		"entries": folders.String(),
		"pieces":  treeHead + "f 0644 0 0 1 " + sum + " 0 a\n" + strings.Repeat(piece, (maxTree-200)/len(piece)),
		"a line":  treeHead + "d 0755 0 0 " + strings.Repeat("x", maxTree-100) + "\n",
	} {
		l, d, other := sample(t)
		f := forge(t, l, d, other)
		f.rawTree = []byte(tree)
		root := f.store()
		raw, err := l.Manifest(t.Context(), root)
		fatal(t, err)
		fatal(t, l.PutManifest(t.Context(), root, raw, Latest))
		t.Log(name)
		within(t, 1500, "open", "", filepath.Dir(filepath.Dir(filepath.Dir(mustPath(t, l, root.Digest)))))
	}
}
