package fidelity

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// LocalHardware describes what this machine computes on, for Target.Hardware: the processor and NVIDIA's cards, as Linux
// tells. It is right only for a server on this machine; "" is unknown.
func LocalHardware() string {
	parts := []string{field("/proc/cpuinfo", "model name")}
	cards, _ := filepath.Glob("/proc/driver/nvidia/gpus/*/information") // the pattern is sound
	for _, c := range cards {
		parts = append(parts, field(c, "Model"))
	}
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, ", ")
}

// field returns the first value of "name : value" in a file of the kernel's, "" where there is none.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
