package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/agibake/agibake/"

// levels is the table of README.md: a package imports only packages of lower levels.
var levels = map[string]int{
	"internal/progress": 0, "internal/epoch": 0, "internal/atomicfile": 0, "internal/tree": 0, "internal/wire": 0,
	"internal/fault": 0, "internal/sparse": 0, "internal/blocks": 0, "internal/inspect/extfs": 0, "internal/format/deflate": 0,
	"internal/referee": 0, "internal/weights": 0, "internal/chunk": 0, "internal/gpu": 0,

	"internal/sign": 1, "internal/tool": 1, "internal/recipe": 1, "internal/layer": 1, "internal/seed": 1, "internal/disk/gpt": 1,
	"internal/disk/fat": 1, "internal/disk/ext4": 1, "internal/format/qcow2": 1, "internal/format/vmdk": 1,
	"internal/erasure": 1, "internal/trace": 1, "internal/referee/llama": 1, "internal/referee/chroma": 1,
	"internal/mode": 1,

	"internal/lock": 2, "internal/artifact": 2, "internal/cas": 2, "internal/format/ova": 2, "internal/namespace": 2,
	"internal/live": 2, "internal/seal": 2, "internal/model": 2,

	"internal/sbom": 3, "internal/provenance": 3, "internal/trust": 3, "internal/inputs": 3, "internal/sample": 3, "internal/state": 3,
	"internal/resolve": 3, "internal/registry": 3, "internal/rootfs": 3, "internal/preload": 3, "internal/disk": 3,
	"internal/format": 3, "internal/configure": 3, "internal/agent": 3, "internal/vm": 3, "internal/inspect": 3,
	"internal/fidelity": 3,

	"internal/bake": 4, "internal/migrate": 4, "internal/parts": 4,

	"recipes": 0, "firmware": 0, "cloud-init": 0,
	"cmd/agibake": 5, "cmd/agid": 5,
}

// agentBarred are packages that the program inside the appliance must never carry.
var agentBarred = []string{"internal/recipe", "internal/rootfs", "internal/disk", "internal/format", "internal/deploy"}

// testsOnly is the package that, with those below it, nothing but tests imports.
const testsOnly = "internal/referee"

type pkg struct {
	ImportPath, Doc string
	Imports, Deps   []string
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,Deps", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func forTests(name string) bool { return name == testsOnly || strings.HasPrefix(name, testsOnly+"/") }

func TestLevels(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "testdata/") || name == "internal" {
			continue
		}
		level, listed := levels[name]
		if !listed {
			t.Errorf("%s: not in the level table", name)
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s: no package comment", name)
		}
		for _, i := range p.Imports {
			i, ours := strings.CutPrefix(i, module)
			if ours && levels[i] >= level {
				t.Errorf("%s (level %d) imports %s (level %d)", name, level, i, levels[i])
			}
			if forTests(i) && !forTests(name) {
				t.Errorf("%s imports %s, which is for tests", name, i)
			}
		}
		if name != "cmd/agid" {
			continue
		}
		for _, d := range p.Deps {
			for _, barred := range agentBarred {
				if d = strings.TrimPrefix(d, module); d == barred || strings.HasPrefix(d, barred+"/") {
					t.Errorf("cmd/agid depends on %s", d)
				}
			}
		}
	}
}

// TestREADMEShowsTheLevels keeps the README's table equal to the one above.
func TestREADMEShowsTheLevels(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range levels {
		short, inside := strings.CutPrefix(name, "internal/")
		if inside && !strings.Contains(string(readme), "`"+short+"`") {
			t.Errorf("README.md's level table lacks `%s`", short)
		}
	}
}
