package main

import (
	"encoding/json"
	"path/filepath"

	"github.com/agibake/agibake/internal/vm"
)

// boot measures the demo from power-on to its verdict, emulated.
func (b *bench) boot() {
	if find("qemu-system-x86_64") == "" {
		b.Skip("SKIPPED: qemu-system-x86_64 is missing")
	}
	demo, err := filepath.Abs("../../recipes/demo.yaml")
	b.must(err)
	b.agibake(demo, "--format", "qcow2")
	rows := [][]string{{"firmware", "power-on to verdict", "answer"}}
	for _, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		if err := vm.HasFirmware(firmware); err != nil {
			b.Logf("SKIPPED: %v", err)
			continue
		}
		var last vm.Result
		s := repeat((b.runs+1)/2, func(int) sample {
			one := b.measure(b.bin, "boot", b.dir+"/out/demo-1.0.0", "--accel", "tcg", "--offline", "--json", "--firmware", string(firmware))
			last = vm.Result{}
			b.must(json.Unmarshal([]byte(one.stdout), &last))
			if last.Verdict == nil || !last.Verdict.Pass {
				b.Fatalf("the demo failed its self-test: %s", one.stdout)
			}
			one.wall = last.Seconds
			return one
		})
		rows = append(rows, []string{string(firmware), s.String(), last.Verdict.Answer})
		b.page.target("power-on to PASS of the demo, "+string(firmware)+", emulated", s.wall(), 75, " s")
	}
	b.remove(b.dir + "/out")
	b.page.section("Start", "`recipes/demo.yaml` in QEMU without KVM, to the PASS of its self-test with the model's answer.")
	b.page.table(rows...)
}
