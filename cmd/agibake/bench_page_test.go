package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// page is the Markdown text in the making.
type page struct {
	targets [][]string
	text    strings.Builder
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(&p.text, format, args...) }

// section begins a section.
func (p *page) section(title string, about ...string) {
	p.printf("\n## %s\n\n", title)
	for _, line := range about {
		p.printf("%s\n", line)
	}
}

// table writes a table whose first row is the header.
func (p *page) table(rows ...[]string) {
	p.printf("\n%s", table(rows))
}

func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
	return b.String()
}

// target notes how a measured number stands to the one it is held against; limit 0 means that no limit was set.
func (p *page) target(what string, got, limit float64, unit string) {
	row := []string{what, seconds(got) + unit, "", ""}
	if limit > 0 {
		row[2], row[3] = fmt.Sprintf("≤ %.3g%s", limit, unit), "missed"
		if got <= limit {
			row[3] = "held"
		}
	}
	p.targets = append(p.targets, row)
}

// render returns the whole page.
func (p *page) render(machine string) string {
	return "# Benchmarks\n\nWritten by `make bench`; " +
		"do not edit. Times are the median of several runs, with their range. Whatever is compared was measured in the\n" +
		"same run on the same machine, files in the page cache as the run before left them, except where a number is said to be\n" +
		"quoted. agibake flushes its outputs to the device before it ends; qemu-img, mkosi, mmdebstrap do not.\n\n" + machine +
		"\n## Targets\n\n" + table(append([][]string{{"what", "measured", "target", ""}}, p.targets...)) + p.text.String()
}

// machine describes where the numbers come from.
func (b *bench) machine() string {
	list := [][]string{{"machine", ""},
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"processor", fmt.Sprintf("%s, %d cores", field("/proc/cpuinfo", "model name"), runtime.NumCPU())},
		{"memory", fmt.Sprintf("%.1f GiB", float64(memTotal())/(1<<30))},
		{"system", fmt.Sprintf("%s, Linux %s", strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`), output("uname", "-r"))},
		{"scratch files on", output("stat", "-f", "-c", "%T", b.dir)},
		{"agibake", output("git", "describe", "--always", "--dirty") + ", " + runtime.Version()},
	}
	for _, c := range [][]string{{"qemu-img", "--version"}, {"mke2fs", "-V"}, {"mmdebstrap", "--version"}} {
		if path := find(c[0]); path != "" {
			list = append(list, []string{c[0], output(path, c[1:]...)})
		}
	}
	return table(list)
}

// field returns what stands after a key and ":" or "=" in a file.
func field(path, key string) string {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return "unknown"
}

// output is the first line that a command prints.
func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}

func memTotal() (bytes int64) {
	fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d", &bytes)
	return bytes << 10
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func ratio(a, b float64) string { return fmt.Sprintf("%.2f ×", a/b) }
