// Package fat writes a new FAT32 file system that holds a tree, such as an EFI system partition.
//
// It follows Microsoft's "FAT: General Overview of On-Disk Format" 1.03. The same tree and Options give the same bytes.
package fat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tree"
)

const (
	sectorSize  = 512
	reserved    = 32    // sectors before the first table
	minClusters = 65525 // fewer make it FAT16, whatever the boot sector says
	rootCluster = 2
	endOfChain  = 0x0FFFFFFF
)

var le = binary.LittleEndian

// Options describe the file system.
type Options struct {
	Size     int64  // bytes, from 34 MiB to 8 GiB
	Label    string // at most 11 bytes, upper-case ASCII
	VolumeID uint32
	Hidden   uint32 // sectors before the partition
}

// Volume is a file system whose every cluster has its place.
type Volume struct {
	o            Options
	sectors      uint32
	clusterSize  int64
	clusters     uint32
	tableSectors uint32
	root         *node
	files        []*node // in tree order
	next         uint32  // first free cluster
}

type node struct {
	entry    *tree.Entry
	parent   *node
	children []*node
	short    [11]byte
	long     bool   // the name needs entries of its own
	name     string // last element of the path
	first    uint32 // cluster; 0 for an empty file
	count    uint32 // clusters
}

func (n *node) isDir() bool { return n.entry.Type == tree.Dir }

// Plan lays t out. It fails with kind fault.Input if t does not fit or holds what FAT cannot express.
func Plan(t *tree.Tree, o Options) (*Volume, error) {
	v := &Volume{o: o, next: rootCluster}
	if err := errors.Join(v.setGeometry(), v.scan(t)); err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("lay out file system %s: %w", o.Label, err))
	}
	v.place(v.root)
	for _, n := range v.files {
		v.place(n)
	}
	if need, have := int64(v.next-rootCluster)*v.clusterSize, int64(v.clusters)*v.clusterSize; need > have {
		return nil, fault.Mark(fault.Input, fmt.Errorf("lay out file system %s: the files need %d bytes, %d are available", o.Label, need, have))
	}
	return v, nil
}

// Write plans and writes a file system that holds t to w, which must read as zeros where it is not written.
func Write(ctx context.Context, w io.WriterAt, t *tree.Tree, o Options) error {
	v, err := Plan(t, o)
	if err != nil {
		return err
	}
	return v.Write(ctx, w)
}

// setGeometry takes the largest clusters, up to 4 KiB, that leave enough of them.
func (v *Volume) setGeometry() error {
	o := v.o
	if len(o.Label) > 11 || o.Size < 34<<20 || o.Size > 8<<30 {
		return fmt.Errorf("label %q or size of %d bytes is out of range", o.Label, o.Size)
	}
	v.sectors = uint32(o.Size / sectorSize)
	for per := uint32(8); per > 0; per /= 2 {
		v.clusterSize = int64(per) * sectorSize
		// Each cluster takes 4 bytes in each of two tables.
		v.tableSectors = uint32((int64(v.sectors-reserved)/int64(per)+2)*4/sectorSize) + 1
		v.clusters = (v.sectors - reserved - 2*v.tableSectors) / per
		if v.clusters >= minClusters {
			return nil
		}
	}
	return errors.New("too small for FAT32")
}

// place gives n the next clusters.
func (v *Volume) place(n *node) {
	size := n.entry.Size
	if n.isDir() {
		size = n.dirSize()
	}
	if size == 0 {
		return
	}
	n.first, n.count = v.next, uint32((size+v.clusterSize-1)/v.clusterSize)
	v.next += n.count
}

// offset is the byte at which a cluster begins.
func (v *Volume) offset(cluster uint32) int64 {
	return int64(reserved+2*v.tableSectors)*sectorSize + int64(cluster-rootCluster)*v.clusterSize
}
