package vm

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// overlay makes path a copy-on-write disk over image, so that the image stays as it was baked. A machine that has
// its overlay already keeps it. Size, in bytes, enlarges the disk; 0 keeps the image's.
func overlay(ctx context.Context, image, path string, size int64) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	base, format, err := backing(image)
	if err != nil {
		return err
	}
	args := []string{"create", "-q", "-f", "qcow2", "-b", base, "-F", format, path}
	if size > 0 {
		args = append(args, strconv.FormatInt(size, 10))
	}
	if err := tool.Run(ctx, tool.Cmd{Name: "qemu-img", Args: args}); err != nil {
		return fmt.Errorf("prepare the disk over %s: %w", image, err)
	}
	return nil
}

// backing names image for QEMU. The VMDK inside an OVA is read in place, without unpacking.
func backing(image string) (name, format string, err error) {
	image, err = filepath.Abs(image)
	if err != nil {
		return "", "", err
	}
	switch strings.ToLower(filepath.Ext(image)) {
	case ".qcow2":
		return image, "qcow2", nil
	case ".vmdk":
		return image, "vmdk", nil
	case ".raw", ".img":
		return image, "raw", nil
	case ".ova":
		return ovaDisk(image)
	}
	return "", "", fault.Hint(fault.Mark(fault.Usage, fmt.Errorf("%s: not a disk image by its name", image)),
		"give a .qcow2, .vmdk, .ova or .raw file, or the folder that bake wrote")
}

func ovaDisk(image string) (name, format string, err error) {
	f, err := os.Open(image)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return "", "", fault.Mark(fault.Input, fmt.Errorf("%s: holds no .vmdk disk", image))
		} else if err != nil {
			return "", "", fault.Mark(fault.Input, fmt.Errorf("read %s: %w", image, err))
		}
		if !strings.HasSuffix(h.Name, ".vmdk") {
			continue
		}
		offset, err := f.Seek(0, io.SeekCurrent) // the reader stands at the member's first byte
		if err != nil {
			return "", "", err
		}
		spec, err := json.Marshal(map[string]any{"driver": "vmdk", "file": map[string]any{
			"driver": "raw", "offset": offset, "size": h.Size, "file": map[string]any{"driver": "file", "filename": image}}})
		return "json:" + string(spec), "vmdk", err
	}
}
