package migrate

import (
	"context"
	"fmt"
	"os"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// unit is what uses the state in an appliance.
const unit = "agi-model.service"

// stop ends what uses the state.
func (e *end) stop(ctx context.Context) error {
	if err := service(ctx, e.Stop, "stop"); err != nil {
		return err
	}
	e.stopped = true
	return nil
}

// start begins it again.
func (e *end) start(ctx context.Context) error {
	if err := service(ctx, e.Start, "start"); err != nil {
		return err
	}
	e.stopped = false
	return nil
}

func service(ctx context.Context, command, verb string) error {
	if command != "" {
		if err := tool.Run(ctx, tool.Cmd{Name: "/bin/sh", Args: []string{"-c", command}}); err != nil {
			return fmt.Errorf("%s what uses the state: %w", verb, err)
		}
		return nil
	}
	if _, err := tool.Output(ctx, "systemctl", "cat", unit); err != nil {
		return nil // no appliance
	}
	return tool.Run(ctx, tool.Cmd{Name: "systemctl", Args: []string{verb, unit}})
}

// agid is the appliance's own program.
const agid = "/usr/lib/agibake/agid"

// selfTest lets an appliance test itself; elsewhere there is nothing to test.
func selfTest(ctx context.Context) error {
	if _, err := os.Stat(agid); err != nil {
		return nil
	}
	if err := tool.Run(ctx, tool.Cmd{Name: agid, Args: []string{"selftest"}}); err != nil {
		return fault.Mark(fault.CheckFailed, fmt.Errorf("the self-test failed: %w", err))
	}
	return nil
}
