// Package gpu tells whether a machine's GPU and driver are enough for what is to run on them.
package gpu

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Output runs a program and returns what it prints.
type Output func(ctx context.Context, name string, args ...string) (string, error)

var cudaVersion = regexp.MustCompile(`CUDA Version: *([0-9]+)\.([0-9]+)`)

// Check returns the GPUs that are visible, one a line, with their driver. It fails if there is none, or if the driver does
// not support a CUDA version such as "12.4"; "" asks for none. nvidia-smi knows all of it.
func Check(ctx context.Context, run Output, cuda string) (string, error) {
	text, err := run(ctx, "nvidia-smi")
	if err != nil {
		return "", err
	}
	list, err := run(ctx, "nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
	if err != nil || list == "" {
		return "", errors.Join(errors.New("no GPU is visible"), err)
	}
	var have, want [2]int
	if m := cudaVersion.FindStringSubmatch(text); m != nil {
		fmt.Sscan(m[1], &have[0])
		fmt.Sscan(m[2], &have[1])
	}
	if cuda != "" {
		if _, err := fmt.Sscanf(cuda, "%d.%d", &want[0], &want[1]); err != nil {
			return "", fmt.Errorf("CUDA version %q: %w", cuda, err)
		}
	}
	if slices.Compare(have[:], want[:]) < 0 {
		return "", fmt.Errorf("driver supports CUDA %d.%d, the containers need %s", have[0], have[1], cuda)
	}
	return strings.TrimSpace(list), nil
}
