package bake

import (
	"context"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/recipe"
)

// Sign signs an appliance, unless it did before, and returns what it added.
type Sign func(ctx context.Context, l *artifact.Layout, a *artifact.Appliance) (made []string, err error)

// signer opens the key that the recipe signs with, before the work begins; nil signs nothing. Somebody else's appliance
// is not signed with what its recipe names.
func (o Options) signer(r *recipe.Recipe) (Sign, error) {
	if r.Sign == nil || o.Lock != nil || o.Signer == nil {
		return nil, nil
	}
	return o.Signer(r.Sign.Key)
}

// sign signs the appliance in a baked folder.
func (b *baker) sign(ctx context.Context, dir string, sign Sign) error {
	if sign == nil {
		return nil
	}
	return b.timed("sign", func() (bool, error) {
		layout, a, err := artifact.OpenFolder(ctx, dir)
		if err != nil {
			return false, err
		}
		made, err := sign(ctx, layout, a)
		return len(made) == 0, err
	})
}
