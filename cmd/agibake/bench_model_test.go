package main

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agibake/agibake/internal/bake"
)

// model bakes an appliance with a large file of noise, beside copying and hashing that file.
func (b *bench) model() {
	const gib = 1 << 30
	if b.size == 0 {
		b.Skip("SKIPPED: AGIBAKE_BENCH_MODEL=0")
	}
	if need := 2*b.size + 4*gib; b.free() < need {
		b.Skipf("SKIPPED: needs %d GiB free in %s; AGIBAKE_BENCH_MODEL=%d takes what there is", need/gib, b.dir, max(0, b.free()-4*gib)/2/gib)
	}
	base := b.write("bench")
	b.agibake(base) // the system's stages
	b.remove(b.dir + "/out")
	file := b.dir + "/noise.gguf"
	b.must(writeNoise(file, b.size))
	hash := []string{find("openssl"), "dgst", "-sha256", file}
	if hash[0] == "" {
		hash = []string{"sha256sum", file}
	}
	copied := series{b.measure("sh", "-c", `cp "$0" "$1" && sync "$1"`, file, file+".copy")}
	b.remove(file + ".copy")
	hashed := series{b.measure(hash[0], hash[1:]...)}
	peer := copied.then(hashed)

	disk := []string{"disk: 8GiB", fmt.Sprintf("disk: %dGiB", b.size/gib+12)}
	without := b.write("without", append(disk, "name: bench", "name: without")...)
	with := b.write("with", append(disk, "name: bench", "name: with",
		"\noutputs:", fmt.Sprintf("\nmodels: [{name: noise, file: noise.gguf, source: %q}]\noutputs:", "file:"+file))...)
	for _, recipe := range []string{without, with} {
		lock, err := os.ReadFile(strings.TrimSuffix(base, ".yaml") + ".lock") // the same packages, and so the same stages
		b.must(err)
		b.must(os.WriteFile(strings.TrimSuffix(recipe, ".yaml")+".lock", lock, 0o644))
		defer b.remove(recipe, strings.TrimSuffix(recipe, ".yaml")+".lock")
	}
	rows := [][]string{{"with a model of " + fmt.Sprint(b.size/gib) + " GiB", "time", "CPU", "the model adds", "beside cp and SHA-256", "stages", "memory"},
		{"cp, flushed", copied.String(), seconds(copied[0].cpu) + " s", "", "", "", ""},
		{"SHA-256 by " + filepath.Base(hash[0]), hashed.String(), seconds(hashed[0].cpu) + " s", "", "", "", ""},
		{"both, one after the other", peer.String(), seconds(peer[0].cpu) + " s", "", ratio(1, 1), "", ""}}
	peak := int64(0)
	bake := func(what, recipe, format string, base float64) float64 {
		s, r := b.agibake(recipe, "--format", format)
		b.remove(b.dir + "/out")
		row := []string{format + what, series{s}.String(), seconds(s.cpu) + " s", "", "", stageList(r), mib(r.PeakMemory)}
		if base > 0 {
			row[3], row[4] = seconds(s.wall-base)+" s", ratio(s.wall-base, peer.wall())
		}
		rows = append(rows, row)
		peak = max(peak, r.PeakMemory)
		return s.wall
	}
	prune := func() { b.measure(b.bin, "cache", "prune", "--stages") }
	touch := func() { b.must(os.Chtimes(file, time.Now(), time.Now())) } // a digest of it counts no more
	size := fmt.Sprint(b.size/gib) + " GiB"
	target := func(what string, with, without float64) {
		b.page.target("what a new model of "+size+" adds to "+what+", beside copying and hashing it", (with-without)/peer.wall(), 1, " ×")
	}
	prune()
	cold := bake(", nothing built before, without the model", without, "qcow2", 0)
	prune()
	target("a cold bake to qcow2", bake(", nothing built before, the model never seen", with, "qcow2", cold), cold)
	for _, format := range []string{"qcow2", "raw"} {
		plain := bake(", without the model", without, format, 0)
		touch()
		target("a bake of known stages to "+format, bake(", the model never seen", with, format, plain), plain)
		bake(", the model known", with, format, plain)
	}
	b.remove(file)
	b.page.target("memory of the agibake process with it", float64(peak)/(1<<20), 300, " MiB")
	b.page.section("A large model", "The system of the bake above, its stages built before but where it says otherwise, with a file of noise in the state\n"+
		"partition of a disk that is 12 GiB larger than it. One run each. The digest of a raw disk covers its empty space too,\n"+
		"also without the model.")
	b.page.table(rows...)
}

// stageList names the stages that took time.
func stageList(r *bake.Report) string {
	var list []string
	for _, s := range r.Stages {
		if s.Seconds >= 0.5 {
			list = append(list, fmt.Sprintf("%s %.1f", s.Name, s.Seconds))
		}
	}
	return strings.Join(list, ", ")
}

// writeNoise writes size bytes that no program compresses, the same each time: AES-CTR over zeros.
func writeNoise(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return err
	}
	stream, w := cipher.NewCTR(block, make([]byte, 16)), bufio.NewWriterSize(f, 4<<20)
	zeros, noise := make([]byte, 1<<20), make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(noise)) {
		stream.XORKeyStream(noise, zeros)
		if _, err := w.Write(noise[:min(size, int64(len(noise)))]); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}
