package state

import (
	"context"
	"fmt"
	"time"

	"github.com/agibake/agibake/internal/progress"
)

// Index reads what was found and fills in sums and pieces, without storing anything. What the memo knows is not read.
func Index(ctx context.Context, list []Found, memo *Memo, p progress.Func) (*Tree, error) {
	start := time.Now()
	c := &capture{o: Options{Memo: memo, Progress: p}, only: true, have: [2]map[Sum]bool{{}, {}}}
	for i := range list {
		if list[i].Kind == File {
			c.total += list[i].Size
		}
	}
	if err := c.read(ctx, list); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	t, err := newTree(list)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return t, memo.save(list, start)
}
