package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agibake/agibake/internal/progress"
)

const removeTask = "remove"

// RemoveAll removes a tree, as os.RemoveAll does. What an ordinary user's killed task left belongs to his subordinate
// ids and is not his to remove: that is done in namespaces.
func RemoveAll(ctx context.Context, path string) error {
	err := os.RemoveAll(path)
	if os.Geteuid() == 0 || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if abs, wrong := filepath.Abs(path); wrong != nil || Run(ctx, removeTask, abs, nil) != nil {
		return err
	}
	return nil
}

func remove(_ context.Context, input json.RawMessage, _ progress.Func) error {
	var path string
	if err := json.Unmarshal(input, &path); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return os.RemoveAll(path)
}
