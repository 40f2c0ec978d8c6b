package main

import (
	"context"

	"github.com/agibake/agibake/internal/progress"
	"github.com/agibake/agibake/internal/state"
)

// stage finds what there is to capture, and copies aside what may change.
func (a *app) stage(ctx context.Context, root string, exclude []string, o *state.Options, show progress.Func) ([]state.Found, func(), error) {
	list, err := state.Scan(ctx, root, state.ScanOptions{Exclude: exclude, Skipped: func(path string) {
		show.Warn("capture", path+" is no file and is left out")
	}})
	return list, func() {}, err
}
