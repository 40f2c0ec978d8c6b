package namespace

import (
	"context"
	"encoding/json"

	"github.com/agibake/agibake/internal/progress"
)

const checkTask = "check"

// Check tells whether this user may use namespaces here, by using some. Its errors are those of Run.
func Check(ctx context.Context) error { return Run(ctx, checkTask, nil, nil) }

func nothing(context.Context, json.RawMessage, progress.Func) error { return nil }
