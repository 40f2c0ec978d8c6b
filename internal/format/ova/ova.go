// Package ova writes, reads and checks appliances in the Open Virtualization Format 1.1 (DMTF DSP0243) as one archive:
// descriptor, manifest, its signature where one is wanted, streamOptimized disk, in this order.
package ova

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"time"
)

// Spec says what the virtual machine is.
type Spec struct {
	Name         string // of the machine; with Version it names the files inside: letters, digits, dots and dashes
	Version      string
	Description  string
	CPUs         int
	MemoryMiB    int64
	DiskCapacity int64   // bytes, a multiple of 1 MiB
	UEFI         bool    // ask VMware for EFI firmware; the disk boots either way
	SecureBoot   bool    // with UEFI: ask VMware to enforce Secure Boot
	ModTime      int64   // of the files inside, in seconds since 1970
	Signer       *Signer // signs the manifest; nil leaves the archive unsigned
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,60}$`)

// check reports the first fault of s.
func (s Spec) check() error {
	switch {
	case !validName.MatchString(s.Name), !validName.MatchString(s.Version):
		return fmt.Errorf("ova: name %q version %q: want letters, digits, dots and dashes", s.Name, s.Version)
	case len(s.diskName()) > 99:
		return fmt.Errorf("ova: name %q version %q: too long together", s.Name, s.Version)
	case s.CPUs < 1 || s.MemoryMiB < 1:
		return fmt.Errorf("ova: %d CPUs and %d MiB of memory make no machine", s.CPUs, s.MemoryMiB)
	case s.DiskCapacity < 1<<20 || s.DiskCapacity%(1<<20) != 0:
		return fmt.Errorf("ova: a disk of %d bytes is no whole number of MiB", s.DiskCapacity)
	}
	return nil
}

func (s Spec) base() string     { return s.Name + "-" + s.Version }
func (s Spec) diskName() string { return s.base() + "-disk1.vmdk" }

// Writer writes an archive around a disk that is streamed into it. Descriptor and manifest stand before the disk but
// depend on it, so their place is kept free and filled by Close.
type Writer struct {
	w     io.WriterAt
	spec  Spec
	room  int   // bytes kept for the descriptor
	start int64 // offset of the disk
	size  int64 // of the disk, so far
}

// NewWriter begins an archive in w.
func NewWriter(w io.WriterAt, s Spec) (*Writer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	longest, err := descriptor(s, math.MaxInt64, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	v := &Writer{w: w, spec: s, room: len(longest)}
	head, err := v.head(0, 0, [sha256.Size]byte{})
	v.start = int64(len(head))
	return v, err
}

// Write appends to the disk.
func (v *Writer) Write(p []byte) (int, error) {
	n, err := v.w.WriteAt(p, v.start+v.size)
	v.size += int64(n)
	return n, err
}

// Close completes the archive and returns its size in bytes; it does not close the file. Sum is the SHA-256 of the
// disk as written, populated the number of bytes of the virtual disk that it holds.
func (v *Writer) Close(sum [sha256.Size]byte, populated int64) (int64, error) {
	head, err := v.head(v.size, populated, sum)
	if err != nil {
		return 0, err
	}
	if _, err := v.w.WriteAt(head, 0); err != nil {
		return 0, err
	}
	// The end of a tar archive: the last block is filled up, then two blocks of zeros.
	const block = 512
	end := v.start + v.size
	tail := make([]byte, (block-v.size%block)%block+2*block)
	if _, err := v.w.WriteAt(tail, end); err != nil {
		return 0, err
	}
	return end + int64(len(tail)), nil
}

// head returns all that stands before the disk's bytes.
func (v *Writer) head(size, populated int64, sum [sha256.Size]byte) ([]byte, error) {
	doc, err := descriptor(v.spec, size, populated)
	if err != nil {
		return nil, err
	}
	if len(doc) > v.room {
		return nil, errors.New("ova: the descriptor outgrew its place")
	}
	doc = append(doc, bytes.Repeat([]byte("\n"), v.room-len(doc))...)
	manifest := fmt.Sprintf("SHA256(%s.ovf)= %x\nSHA256(%s)= %x\n", v.spec.base(), sha256.Sum256(doc), v.spec.diskName(), sum)
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	files := []member{{v.spec.base() + ".ovf", doc}, {v.spec.base() + ".mf", []byte(manifest)}}
	if s := v.spec.Signer; s != nil {
		cert, err := s.Cert(v.spec.base()+".mf", []byte(manifest))
		if err != nil {
			return nil, err
		}
		files = append(files, member{v.spec.base() + ".cert", cert})
	}
	for _, f := range files {
		if err := t.WriteHeader(v.tarHeader(f.name, int64(len(f.data)))); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := t.WriteHeader(v.tarHeader(v.spec.diskName(), size)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// member is a file before the disk.
type member struct {
	name string
	data []byte
}

// tarHeader returns a member's header. USTAR holds sizes below 8 GiB; beyond, only GNU's form is read everywhere.
func (v *Writer) tarHeader(name string, size int64) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(v.spec.ModTime, 0), Format: tar.FormatUSTAR}
	if size >= 8<<30 {
		h.Format = tar.FormatGNU
	}
	return h
}
