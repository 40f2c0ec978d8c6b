package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/agibake/agibake/internal/wire"
)

// State prepares the machine at boot: the state partition mounted and as large as its disk allows, its folders there, the
// identity this machine's own. Every step is tried whatever became of the others: a machine that lacks its state must
// still come up and let its owner in.
func (s *System) State(ctx context.Context) error {
	config, err := s.LoadConfig() // without it, the label finds the state
	faults := []error{err}
	if !s.inContainer() { // there the state is a folder that the host gives
		faults = append(faults, s.Mount(ctx, config.StateUUID))
	}
	err = s.Grow(ctx)
	if errors.Is(err, errNoPartition) || errors.Is(err, errNotMounted) {
		err = nil
	}
	faults = append(faults, err)
	if _, err := s.mounted(wire.StateRoot); err == nil {
		for _, dir := range wire.StateFolders {
			faults = append(faults, os.MkdirAll(s.state(dir), 0o755))
		}
	}
	faults = append(faults, s.Identity(ctx))
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("prepare state: %w", err)
	}
	return nil
}

// inContainer says whether the machine is a container, by systemd's own sign (systemd, "The Container Interface").
func (s *System) inContainer() bool { return s.exists("/run/systemd/container") }
