package state

import (
	"context"
	"fmt"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/gpu"
	"github.com/agibake/agibake/internal/tool"
)

// Needs is what a state wants of the machine that runs it.
type Needs struct {
	GPU  bool   `json:"gpu"`
	CUDA string `json:"cuda,omitempty"` // the version that the containers need, such as 12.4
}

// Check compares this machine with what is needed; nil needs nothing. What is missing is of kind fault.Missing.
func (n *Needs) Check(ctx context.Context) error {
	if n == nil || !n.GPU {
		return nil
	}
	_, err := gpu.Check(ctx, func(ctx context.Context, name string, args ...string) (string, error) {
		out, err := tool.Output(ctx, name, args...)
		return string(out), err
	}, n.CUDA)
	if err != nil {
		return fault.Hint(fault.Mark(fault.Missing, fmt.Errorf("this machine lacks what the model needs: %w", err)),
			"install the driver, or restore all the same with --force")
	}
	return nil
}
