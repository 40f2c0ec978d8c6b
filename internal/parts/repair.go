package parts

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/agibake/agibake/internal/erasure"
	"github.com/agibake/agibake/internal/progress"
)

// Repaired is a part that was written anew.
type Repaired struct {
	Number int    `json:"number"`
	Where  string `json:"where"`
}

// job is a part to be written.
type job struct {
	number int
	at     Place
	name   string
}

// jobs says what to write where: damaged parts where they lie, unless a good copy is there; missing ones where a part
// lies that cannot be read any more, or where none is. left has the numbers without a place.
func (p *Parts) jobs() (jobs []job, left []int) {
	used, whole := map[Place]bool{}, map[int]bool{}
	for i, r := range p.Report.Parts {
		used[p.Found[i].Place] = true
		whole[r.Number] = whole[r.Number] || r.State == erasure.OK
	}
	for i, r := range p.Report.Parts {
		if f := p.Found[i]; r.Number > 0 && !whole[r.Number] {
			whole[r.Number] = true
			jobs = append(jobs, job{r.Number, f.Place, f.Name})
		}
	}
	free := slices.DeleteFunc(slices.Clone(p.Places), func(at Place) bool { return used[at] })
	for _, n := range p.Report.Missing {
		end := name("", p.Report.Set, n)
		i := slices.IndexFunc(p.Found, func(f *Found) bool { return strings.HasSuffix(f.Name, end) })
		switch {
		case i >= 0:
			jobs = append(jobs, job{n, p.Found[i].Place, p.Found[i].Name})
		case len(free) > 0:
			jobs = append(jobs, job{n, free[0], p.base() + end})
			free = free[1:]
		default:
			left = append(left, n)
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Compare(a.number, b.number) })
	return jobs, left
}

// base is what the names of the parts begin with.
func (p *Parts) base() string {
	for _, f := range p.Found {
		if base, _, ok := strings.Cut(f.Name, "."+p.Report.ID[:8]+"."); ok {
			return base
		}
	}
	return "agi-state"
}

// Repair writes damaged parts anew where they lie, and missing ones to places that have none. left are the numbers of
// those for which there is no place.
func (p *Parts) Repair(ctx context.Context, show progress.Func) (done []Repaired, left []int, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jobs, left := p.jobs()
	if len(jobs) == 0 {
		return nil, left, nil
	}
	var numbers []int
	var files []File
	var out []io.Writer
	for _, j := range jobs {
		f, err := j.at.Create(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("repair part %d at %s: %w", j.number, j.at, err)
		}
		defer f.Abort()
		numbers, files, out = append(numbers, j.number), append(files, f), append(out, f)
	}
	var read atomic.Int64
	total := p.Report.Length
	list, close := p.sources(ctx, func(n int) { show.Count("repair", "parts", min(read.Add(int64(n)), total), total) })
	defer close()
	if err := erasure.Repair(ctx, list, numbers, out); err != nil {
		return nil, nil, err
	}
	for i, j := range jobs {
		where, err := files[i].Commit(ctx, j.name)
		if err != nil {
			return done, nil, fmt.Errorf("repair part %d at %s: %w", j.number, j.at, err)
		}
		done = append(done, Repaired{j.number, where})
	}
	return done, left, nil
}
