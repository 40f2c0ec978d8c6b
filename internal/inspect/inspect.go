// Package inspect tells what is inside a disk image or a baked folder, without mounting or running it. Every input may
// be foreign and hostile.
package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/format/ova"
	"github.com/agibake/agibake/internal/format/qcow2"
	"github.com/agibake/agibake/internal/format/vmdk"
	"github.com/agibake/agibake/internal/progress"
)

// Options tunes File.
type Options struct {
	SkipDigests bool // do not read the whole file for its digest and the manifest's
}

// Report is what one image holds.
type Report struct {
	Path        string      `json:"path"`
	Format      string      `json:"format"` // raw, qcow2, vmdk or ova
	Size        int64       `json:"size"`   // of the file, bytes
	SHA256      string      `json:"sha256,omitempty"`
	VirtualSize int64       `json:"virtualSize"` // of the disk, bytes
	Details     []Detail    `json:"details,omitempty"`
	Appliance   *Appliance  `json:"ovf,omitempty"`
	Table       string      `json:"partitionTable"` // gpt, mbr or none
	DiskID      string      `json:"diskID,omitempty"`
	Partitions  []Partition `json:"partitions,omitempty"`
	System      *System     `json:"system,omitempty"`
	Models      []Model     `json:"models,omitempty"` // weights on the state partition
	Problems    []string    `json:"problems,omitempty"`
}

// Detail is one fact of a format, named for a person.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Appliance is what an OVA says of its machine.
type Appliance struct {
	Files    []ova.Member  `json:"files"`
	Envelope ova.Envelope  `json:"envelope"`
	Manifest string        `json:"manifest"` // "holds", "not checked" or what is wrong
	Findings []ova.Finding `json:"findings"` // rules of importers that it breaks
}

// device is the disk in an image.
type device interface {
	io.ReaderAt
	Size() int64
}

// File inspects an image. A file that is none gives an error of kind Input. A manifest that does not hold is an error
// of kind Untrusted, with the report.
func File(ctx context.Context, path string, o Options, p progress.Func) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Mark(fault.Input, err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // also of a block device
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("inspect %s: %w", path, err))
	}
	r := &Report{Path: path, Size: size}
	d, err := r.open(f, size)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("inspect %s: %w", path, err))
	}
	r.VirtualSize = d.Size()
	r.look(d)
	if r.Format == "raw" && r.Table == "none" && len(r.Partitions) == 0 {
		err := fmt.Errorf("inspect %s: no disk image that is known", path)
		return nil, fault.Mark(fault.Input, fault.Hint(err, "known are raw, qcow2, VMDK and OVA"))
	}
	if o.SkipDigests {
		return r, nil
	}
	if r.SHA256, err = digestOf(ctx, f, size, path, p); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	if r.Appliance == nil {
		return r, nil
	}
	return r, r.verify(ctx, f, size)
}

// open recognizes the format and returns the disk in it.
func (r *Report) open(f *os.File, size int64) (device, error) {
	if q, err := qcow2.Open(f, size); !errors.Is(err, qcow2.ErrMagic) {
		if err != nil {
			return nil, err
		}
		r.Format = "qcow2"
		r.add("version", "%d", q.Version)
		r.add("clusters", "%d KiB, %v", q.ClusterSize>>10, q.Compression)
		return q, nil
	}
	if v, err := vmdk.Open(f, size); !errors.Is(err, vmdk.ErrMagic) {
		if err != nil {
			return nil, err
		}
		r.Format = "vmdk"
		r.vmdk(v)
		return v, nil
	}
	if a, err := ova.Open(f, size); !errors.Is(err, ova.ErrMagic) {
		if err != nil {
			return nil, err
		}
		r.Format = "ova"
		return r.ova(a)
	}
	r.Format = "raw"
	return io.NewSectionReader(f, 0, size), nil
}

func (r *Report) add(name, form string, args ...any) {
	r.Details = append(r.Details, Detail{name, fmt.Sprintf(form, args...)})
}

func (r *Report) problem(err error) { r.Problems = append(r.Problems, err.Error()) }

func (r *Report) vmdk(v *vmdk.Image) {
	r.add("type", "%s, version %d", v.Descriptor["createType"], v.Version)
	r.add("grains", "%d KiB, compressed: %t", v.GrainSize>>10, v.Compressed)
	r.add("adapter", "%s", v.Descriptor["ddb.adapterType"])
	if v.Trailing > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d bytes follow the end-of-stream marker", v.Trailing))
	}
}

func (r *Report) ova(a *ova.Archive) (device, error) {
	r.Appliance = &Appliance{Files: a.Members, Envelope: a.Envelope, Manifest: "not checked", Findings: ova.Check(a)}
	m, err := a.Disk()
	if err != nil {
		return nil, err
	}
	v, err := vmdk.Open(a.Section(m), m.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	r.vmdk(v)
	return v, nil
}

func (r *Report) verify(ctx context.Context, f *os.File, size int64) error {
	a, err := ova.Open(f, size)
	if err != nil {
		return err
	}
	r.Appliance.Manifest = "holds"
	if err := a.Verify(ctx); err != nil {
		r.Appliance.Manifest = err.Error()
		return fault.Mark(fault.Untrusted, err)
	}
	return nil
}

// digestOf returns the SHA-256 of a file in hex.
func digestOf(ctx context.Context, r io.ReaderAt, size int64, name string, p progress.Func) (string, error) {
	h := sha256.New()
	s := io.NewSectionReader(r, 0, size)
	for buf, done := make([]byte, 1<<20), int64(0); ; {
		n, err := s.Read(buf)
		h.Write(buf[:n])
		done += int64(n)
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return "", err
		}
		p.Count("digest", name, done, size)
	}
}
