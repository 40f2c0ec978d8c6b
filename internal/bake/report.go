package bake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/fault"
)

// ReportFile is the name of the Report in the folder that a bake writes.
const ReportFile = "bake.json"

// Report is bake.json: what was baked, from what, and how long it took.
type Report struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	LockDigest string   `json:"lockDigest"`
	Key        string   `json:"key"`    // digest of every input of the outputs, agibake itself among them
	Index      string   `json:"index"`  // digest of the appliance: of the index in oci/
	Rootfs     string   `json:"rootfs"` // digest of the rootfs image's manifest in oci/
	Layers     []string `json:"layers"` // diffIDs of the rootfs layers
	Machine    Machine  `json:"machine"`
	Outputs    []Output `json:"outputs"`
	Stages     []Stage  `json:"stages"`
	Seconds    float64  `json:"seconds"`
	PeakMemory int64    `json:"peakMemoryBytes"` // of the agibake process
	Cached     bool     `json:"-"`               // nothing had to be done
}

// Machine is what a host needs to know to start the appliance.
type Machine = artifact.Machine

// Output is one disk image.
type Output struct {
	Format  string `json:"format"`
	File    string `json:"file"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	ModTime int64  `json:"modTime"` // nanoseconds since 1970, to notice a changed file without reading it

	sums artifact.Sums
}

// Stage is one step of the way through.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Cached  bool    `json:"cached"`
}

// ReadReport reads bake.json of the folder dir.
func ReadReport(dir string) (*Report, error) {
	data, err := os.ReadFile(filepath.Join(dir, ReportFile))
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read the bake in %s: %w", dir, err))
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read the bake in %s: %w", dir, err))
	}
	for _, o := range r.Outputs {
		if filepath.Base(o.File) != o.File {
			return nil, fault.Mark(fault.Input, fmt.Errorf("read the bake in %s: output %q is no file of that folder", dir, o.File))
		}
	}
	return &r, nil
}

// stands reports whether every output of dir is there as the report says, and the appliance in oci/ with all its blobs.
func (r *Report) stands(ctx context.Context, dir string) bool {
	for _, o := range r.Outputs {
		info, err := os.Stat(filepath.Join(dir, o.File))
		if err != nil || info.Size() != o.Size || info.ModTime().UnixNano() != o.ModTime {
			return false
		}
	}
	l, a, err := artifact.OpenFolder(ctx, dir)
	if err != nil || string(a.Index.Digest) != r.Index {
		return false
	}
	for _, d := range a.Blobs() {
		if have, err := l.Has(ctx, d); !have || err != nil {
			return false
		}
	}
	return len(r.Outputs) > 0
}
