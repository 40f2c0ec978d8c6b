package resolve

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// job is the resolving of one part of a recipe. A long one, the download of a model without a digest, is not worth
// waiting for once another job has failed.
type job struct {
	long bool
	run  func(context.Context) error
}

// all runs jobs side by side and returns their errors in the jobs' order, each text once.
func all(ctx context.Context, jobs []job) error {
	worthwhile, abandon := context.WithCancel(ctx)
	defer abandon()
	errs := make([]error, len(jobs))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, j := range jobs {
		g.Go(func() error {
			own := ctx
			if j.long {
				own = worthwhile
			}
			if errs[i] = j.run(own); errs[i] != nil {
				abandon()
			}
			return nil
		})
	}
	_ = g.Wait() // what fails is in errs
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return inOrder(errs)
}

// inOrder joins errors, apart from repetitions. Those of abandoned jobs say nothing beside another.
func inOrder(errs []error) error {
	var list, abandoned []error
	said := map[string]bool{}
	for _, err := range errs {
		switch {
		case err == nil || said[err.Error()]:
			continue
		case errors.Is(err, context.Canceled):
			abandoned = append(abandoned, err)
		default:
			list = append(list, err)
		}
		said[err.Error()] = true
	}
	if list == nil {
		list = abandoned
	}
	return errors.Join(list...)
}
