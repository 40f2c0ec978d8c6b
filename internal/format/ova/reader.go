package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Member is one file of an archive.
type Member struct {
	Name   string     `json:"name"`
	Offset int64      `json:"offset"` // of its content in the archive
	Size   int64      `json:"size"`
	Mode   int64      `json:"-"`
	UID    int        `json:"-"`
	GID    int        `json:"-"`
	Format tar.Format `json:"-"`
}

// Archive is an opened OVA.
type Archive struct {
	Members    []Member // in the archive's order
	Descriptor []byte   // the OVF document
	Envelope   Envelope // the same, parsed
	Manifest   []Digest // nil where there is none
	rawMF      []byte
	rawCert    []byte // the .cert file, nil where there is none
	r          io.ReaderAt
}

// Digest is one line of the manifest.
type Digest struct{ Algorithm, Name, Hex string }

// Envelope is what readers take from an OVF 1.x or 2.x document. Prefixes do not matter here.
type Envelope struct {
	XMLName xml.Name `json:"-"`
	Files   []struct {
		ID   string `xml:"id,attr" json:"id"`
		Href string `xml:"href,attr" json:"href"`
		Size int64  `xml:"size,attr" json:"size"`
	} `xml:"References>File" json:"files"`
	Disks []struct {
		ID        string `xml:"diskId,attr" json:"id"`
		FileRef   string `xml:"fileRef,attr" json:"fileRef"`
		Capacity  int64  `xml:"capacity,attr" json:"capacity"`
		Units     string `xml:"capacityAllocationUnits,attr" json:"units"`
		Format    string `xml:"format,attr" json:"format"`
		Populated int64  `xml:"populatedSize,attr" json:"populatedSize"`
	} `xml:"DiskSection>Disk" json:"disks"`
	System struct {
		ID   string `xml:"id,attr" json:"id"`
		Name string `json:"name"`
		OS   struct {
			ID   string `xml:"id,attr" json:"id"`
			Type string `xml:"osType,attr" json:"vmwareType"`
			VBox string `xml:"OSType" json:"virtualboxType"`
		} `xml:"OperatingSystemSection" json:"os"`
		Hardware struct {
			Type  string `xml:"System>VirtualSystemType" json:"type"`
			Items []Item `xml:"Item" json:"items"`
			// Later revisions of OVF have their own elements for disks and networks, which VMware does not read.
			StorageItems []struct{} `xml:"StorageItem" json:"-"`
			Config       []struct {
				Required string `xml:"required,attr" json:"-"`
				Key      string `xml:"key,attr" json:"key"`
				Value    string `xml:"value,attr" json:"value"`
			} `xml:"Config" json:"config,omitempty"`
		} `xml:"VirtualHardwareSection" json:"hardware"`
		Product struct {
			Product string `json:"product"`
			Version string `json:"version"`
		} `xml:"ProductSection" json:"product"`
		BootOrder *struct{} `xml:"BootOrderSection" json:"-"`
		Machine   *struct{} `xml:"Machine" json:"-"`
	} `xml:"VirtualSystem" json:"system"`
}

// Item is one device of an Envelope.
type Item struct {
	Required     string `xml:"required,attr" json:"-"`
	Name         string `xml:"ElementName" json:"name"`
	ID           string `xml:"InstanceID" json:"id"`
	Parent       string `json:"parent,omitempty"`
	Type         int    `xml:"ResourceType" json:"type"`
	SubType      string `xml:"ResourceSubType" json:"subType,omitempty"`
	HostResource string `json:"hostResource,omitempty"`
	Connection   string `json:"connection,omitempty"`
	Units        string `xml:"AllocationUnits" json:"units,omitempty"`
	Quantity     int64  `xml:"VirtualQuantity" json:"quantity,omitempty"`
}

// ErrMagic is returned for a file that is no tar archive with an OVF descriptor.
var ErrMagic = errors.New("no OVA archive")

// Open reads the archive's directory, descriptor, manifest and signature, the first of each. It is at most 64 members,
// and 1 MiB each of text.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	const maxMembers, maxText = 64, 1 << 20
	a := &Archive{r: r}
	section := io.NewSectionReader(r, 0, size)
	for t := tar.NewReader(section); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil || h.Typeflag != tar.TypeReg || path.Base(h.Name) != h.Name || len(a.Members) == maxMembers {
			if len(a.Members) == 0 {
				return nil, ErrMagic
			}
			return nil, errors.Join(fmt.Errorf("ova: member %d is not acceptable", len(a.Members)+1), err)
		}
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		a.Members = append(a.Members, Member{h.Name, at, h.Size, h.Mode, h.Uid, h.Gid, h.Format})
		kind := path.Ext(h.Name)
		if kind != ".ovf" && kind != ".mf" && kind != ".cert" {
			continue
		}
		if h.Size > maxText {
			return nil, fmt.Errorf("ova: %s has %d bytes", h.Name, h.Size)
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("ova: read %s: %w", h.Name, err)
		}
		switch {
		case kind == ".mf" && a.rawMF == nil:
			a.rawMF, a.Manifest = text, parseManifest(text)
		case kind == ".cert" && a.rawCert == nil:
			a.rawCert = text
		case kind == ".ovf" && a.Descriptor == nil:
			a.Descriptor = text
		}
	}
	if a.Descriptor == nil {
		return nil, ErrMagic
	}
	if err := xml.NewDecoder(bytes.NewReader(a.Descriptor)).Decode(&a.Envelope); err != nil {
		return nil, fmt.Errorf("ova: read the descriptor: %w", err)
	}
	if a.Envelope.XMLName.Local != "Envelope" {
		return nil, fmt.Errorf("ova: the descriptor's root is %q", a.Envelope.XMLName.Local)
	}
	return a, nil
}

var manifestLine = regexp.MustCompile(`^([A-Z0-9-]+) ?\((.+)\) ?= ?([0-9a-fA-F]+)\s*$`)

// parseManifest reads the lines that are one; Verify notices what is missing.
func parseManifest(text []byte) []Digest {
	list := []Digest{}
	for line := range strings.Lines(string(text)) {
		if f := manifestLine.FindStringSubmatch(line); f != nil {
			list = append(list, Digest{f[1], f[2], strings.ToLower(f[3])})
		}
	}
	return list
}

// Member returns the named file of the archive, or nil.
func (a *Archive) Member(name string) *Member {
	for i := range a.Members {
		if a.Members[i].Name == name {
			return &a.Members[i]
		}
	}
	return nil
}

// Section reads a member's content.
func (a *Archive) Section(m *Member) *io.SectionReader {
	return io.NewSectionReader(a.r, m.Offset, m.Size)
}

// Disk returns the file of the first disk.
func (a *Archive) Disk() (*Member, error) {
	if len(a.Envelope.Disks) == 0 {
		return nil, errors.New("ova: the descriptor has no disk")
	}
	for _, f := range a.Envelope.Files {
		if f.ID == a.Envelope.Disks[0].FileRef {
			if m := a.Member(f.Href); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("ova: %s is not in the archive", f.Href)
		}
	}
	return nil, fmt.Errorf("ova: disk %s has no file", a.Envelope.Disks[0].ID)
}

// Verify holds the manifest against the files: each file that the descriptor names, and the descriptor, must have a
// SHA-256 line that is right; so must the manifest's signature be, where there is one. It reads the whole archive.
func (a *Archive) Verify(ctx context.Context) error {
	if _, err := a.VerifySignature(); err != nil {
		return fmt.Errorf("ova: %w", err)
	}
	want := []string{}
	for _, m := range a.Members {
		if path.Ext(m.Name) == ".ovf" {
			want = append(want, m.Name)
		}
	}
	for _, f := range a.Envelope.Files {
		want = append(want, f.Href)
	}
	for _, name := range want {
		m := a.Member(name)
		if m == nil {
			return fmt.Errorf("ova: %s is not in the archive", name)
		}
		if err := a.verify(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) verify(ctx context.Context, m *Member) error {
	for _, d := range a.Manifest {
		if d.Name != m.Name {
			continue
		}
		if d.Algorithm != "SHA256" {
			return fmt.Errorf("ova: the manifest gives %s of %s, not SHA256", d.Algorithm, m.Name)
		}
		h := sha256.New()
		r := a.Section(m)
		for buf := make([]byte, 1<<20); ; {
			n, err := r.Read(buf)
			h.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("ova: read %s: %w", m.Name, err)
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != d.Hex {
			return fmt.Errorf("ova: %s has digest %s, the manifest says %s", m.Name, got, d.Hex)
		}
		return nil
	}
	return fmt.Errorf("ova: the manifest has no line for %s", m.Name)
}
