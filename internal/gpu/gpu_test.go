package gpu

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	smi := func(version, list string, fail error) Output {
		return func(_ context.Context, _ string, args ...string) (string, error) {
			if len(args) > 0 {
				return list, nil
			}
			return "| NVIDIA-SMI 580.82  Driver Version: 580.82  CUDA Version: " + version + " |", fail
		}
	}
	for _, c := range []struct {
		run  Output
		cuda string
		says string // "" is no error
	}{
		{smi("13.0", "H100, 580.82\n", nil), "12.4", ""},
		{smi("12.4", "H100, 550.54\n", nil), "12.4", ""},
		{smi("12.2", "H100, 535.1\n", nil), "", ""},
		{smi("12.2", "H100, 535.1\n", nil), "12.4", "supports CUDA 12.2, the containers need 12.4"},
		{smi("9.9", "old\n", nil), "10.0", "supports CUDA 9.9"},
		{smi("13.0", "", nil), "12.4", "no GPU is visible"},
		{smi("13.0", "x", errors.New("nvidia-smi not found")), "", "not found"},
		{smi("13.0", "x", nil), "new", "CUDA version"},
	} {
		got, err := Check(t.Context(), c.run, c.cuda)
		if c.says == "" && (err != nil || got == "") || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("CUDA %q: %q, %v; want %q", c.cuda, got, err, c.says)
		}
	}
}
