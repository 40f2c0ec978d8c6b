package format

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/agibake/agibake/internal/referee"
)

// benchDisk returns a disk of real programs and documents: AGIBAKE_BENCH_DISK, or one made of this machine's.
func benchDisk(b *testing.B) *os.File {
	b.Helper()
	path := os.Getenv("AGIBAKE_BENCH_DISK")
	if path == "" {
		path = filepath.Join(b.TempDir(), "disk.raw")
		referee.Run(b, "mkfs.ext4", "-q", "-d", "/usr/bin", path, "3G")
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// BenchmarkEncode writes qcow2 (zstd) and OVA together and has qemu-img write the same two in sequence. It reports
// both times, their ratio, that of the processor time (which a busy machine distorts less), our sizes over qemu-img's,
// and the peak memory of this process. Run it with -benchtime 1x.
func BenchmarkEncode(b *testing.B) {
	raw := benchDisk(b)
	referee.Need(b, "qemu-img")
	dir := b.TempDir()
	theirs := map[Kind]string{QCOW2: filepath.Join(dir, "q.qcow2"), OVA: filepath.Join(dir, "q.vmdk")}
	for b.Loop() {
		start, busy := time.Now(), cpu(b, syscall.RUSAGE_SELF)
		results, err := Encode(context.Background(), raw, []Output{{QCOW2, dir + "/a.qcow2"}, {OVA, dir + "/a.ova"}}, Options{OVA: spec}, nil)
		if err != nil {
			b.Fatal(err)
		}
		ours, ourCPU := time.Since(start).Seconds(), cpu(b, syscall.RUSAGE_SELF)-busy
		start, busy = time.Now(), cpu(b, syscall.RUSAGE_CHILDREN)
		for _, args := range [][]string{
			{"convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", raw.Name(), theirs[QCOW2]},
			{"convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw.Name(), theirs[OVA]},
		} {
			referee.Run(b, "qemu-img", args...)
		}
		reference := time.Since(start).Seconds()
		b.ReportMetric(ours, "agibake-s")
		b.ReportMetric(reference, "qemu-img-s")
		b.ReportMetric(ours/reference, "time-ratio")
		b.ReportMetric(ourCPU, "agibake-cpu-s")
		b.ReportMetric(ourCPU/(cpu(b, syscall.RUSAGE_CHILDREN)-busy), "cpu-ratio")
		for _, r := range results {
			info, err := os.Stat(theirs[r.Format])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(r.Size)/float64(info.Size()), string(r.Format)+"-size-ratio")
		}
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(use.Maxrss)/1024, "peak-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// cpu is the processor time used so far, in seconds.
func cpu(b *testing.B, who int) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(who, &use); err != nil {
		b.Fatal(err)
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}
