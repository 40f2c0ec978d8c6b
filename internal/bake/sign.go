package bake

import (
	"context"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/sign"
	"github.com/agibake/agibake/internal/trust"
)

// key opens the key that the recipe signs with, before the work begins; nil signs nothing. Somebody else's appliance is
// not signed with what its recipe names.
func (o Options) key(r *recipe.Recipe) (*sign.Key, error) {
	if r.Sign == nil || o.Lock != nil || o.OpenKey == nil {
		return nil, nil
	}
	return o.OpenKey(r.Sign.Key)
}

// sign signs the appliance in a baked folder, unless the key did before.
func (b *baker) sign(ctx context.Context, dir string, key *sign.Key) error {
	if key == nil {
		return nil
	}
	return b.timed("sign", func() (bool, error) {
		layout, a, err := artifact.OpenFolder(ctx, dir)
		if err != nil {
			return false, err
		}
		made, err := trust.Sign(ctx, layout, a, key, trust.SignOptions{Reference: a.Name, Forms: []string{trust.Bundle, trust.Legacy}})
		return len(made) == 0, err
	})
}
