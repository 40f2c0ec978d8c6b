package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/bake"
)

// mkosiSeconds is mkosi's cold build of the same packages on the machine for which the targets were set.
const mkosiSeconds = 140

// write puts the bench recipe into a folder, changed, and returns its path.
func (b *bench) write(name string, change ...string) string {
	b.Helper()
	text, err := os.ReadFile("../../testdata/bench.yaml")
	b.must(err)
	dir := b.keep + "/recipe"
	b.mkdir(dir)
	path := filepath.Join(dir, name+".yaml")
	out := strings.NewReplacer(change...).Replace(string(text))
	b.must(os.WriteFile(path, []byte(out), 0o644))
	return path
}

// agibake bakes, and returns the report too.
func (b *bench) agibake(recipe string, args ...string) (sample, *bake.Report) {
	b.Helper()
	s := b.measure(b.bin, append([]string{"bake", recipe, "-o", b.dir + "/out", "--json"}, args...)...)
	var r bake.Report
	b.must(json.Unmarshal([]byte(s.stdout), &r))
	return s, &r
}

func (b *bench) bake() {
	recipe := b.write("bench")
	b.agibake(recipe) // brings the downloads
	var reports []*bake.Report
	cold := repeat(b.runs, func(int) sample {
		b.remove(b.dir + "/out")
		b.measure(b.bin, "cache", "prune", "--stages")
		s, r := b.agibake(recipe)
		reports = append(reports, r)
		return s
	})
	same := repeat(b.runs+2, func(int) sample {
		s, _ := b.agibake(recipe)
		return s
	})
	var changed []*bake.Report
	change := repeat(b.runs, func(i int) sample {
		s, r := b.agibake(b.write("bench", "bench 0", fmt.Sprint("bench ", i+1)))
		changed = append(changed, r)
		return s
	})
	p, size := b.page, reports[0].Outputs[0].Size
	p.target("cold bake to qcow2, beside mkosi's quoted 140 s", cold.wall()/mkosiSeconds, 0.4, " ×")
	p.target("nothing changed", same.wall(), 1, " s")
	p.target("one file changed, to qcow2", change.wall(), 7, " s")
	p.target("memory of the agibake process, cold bake", peakOf(reports)/(1<<20), 300, " MiB")

	p.section("Bake", "`testdata/bench.yaml`: "+fmt.Sprintf("Ubuntu 22.04 with kernel, GRUB, cloud-init, ssh and docker, to a qcow2 of %s. Cold means that the lock stands\nand all downloads are cached, but no stage is.", mib(size)))
	p.table([]string{"bake", "time", "CPU"}, []string{"cold", cold.String(), seconds(cold.middle().cpu) + " s"},
		[]string{"nothing changed", same.String(), seconds(same.middle().cpu) + " s"},
		[]string{"one file changed", change.String(), seconds(change.middle().cpu) + " s"})
	p.table(stageRows(cold, reports, change, changed)...)
	p.table(memoryRows(cold, reports)...)
}

func peakOf(reports []*bake.Report) float64 {
	top := int64(0)
	for _, r := range reports {
		top = max(top, r.PeakMemory)
	}
	return float64(top)
}

// stageRows compares the stages of the median runs.
func stageRows(cold series, coldReports []*bake.Report, change series, changed []*bake.Report) [][]string {
	a, z := reportOf(cold, coldReports), reportOf(change, changed)
	rows := [][]string{{"stage", "cold", "one file changed"}}
	for _, s := range a.Stages {
		row := []string{s.Name, stageTime(s), ""}
		for _, other := range z.Stages {
			if other.Name == s.Name {
				row[2] = stageTime(other)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func stageTime(s bake.Stage) string {
	if s.Cached {
		return fmt.Sprintf("%.2f s, cached", s.Seconds)
	}
	return fmt.Sprintf("%.2f s", s.Seconds)
}

// reportOf is the report of the median run.
func reportOf(s series, reports []*bake.Report) *bake.Report {
	for i, one := range s {
		if one.wall == s.wall() {
			return reports[i]
		}
	}
	return reports[0]
}

// memoryRows tells what each process of a cold bake held, at most over all runs.
func memoryRows(cold series, reports []*bake.Report) [][]string {
	var all memory
	all.program = map[string]int64{}
	for _, s := range cold {
		all.together, all.tmpfs = max(all.together, s.together), max(all.tmpfs, s.tmpfs)
		for name, n := range s.program {
			all.program[name] = max(all.program[name], n)
		}
	}
	rows := [][]string{{"memory in a cold bake", "at most", "measured by"},
		{"agibake", mib(int64(peakOf(reports))), "getrusage(2), in bake.json"}}
	const child = "agibake, in its namespace"
	rows = append(rows, []string{child, mib(all.program[child]), "VmHWM of proc(5), every 0.1 s"})
	names := slices.SortedFunc(maps.Keys(all.program), func(x, y string) int { return int(all.program[y]>>10 - all.program[x]>>10) })
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "agibake") })
	if len(names) > 0 {
		rows = append(rows, []string{"the largest program of the packages' scripts, " + names[0], mib(all.program[names[0]]), "likewise; the shortest are missed"})
	}
	return append(rows, []string{"all processes at one time", mib(all.together), "sum of resident sets, shared pages counted in each"},
		[]string{"tmpfs with the tree in the making, where memory is plentiful", mib(all.tmpfs), "rise of Shmem in /proc/meminfo"})
}
