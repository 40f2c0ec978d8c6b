package rootfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/agibake/agibake/internal/progress"
)

// merged are the top-level folders that a merged /usr replaces by links (usrmerge).
var merged = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// claim says which package holds a path. Folders are shared: the package of lowest rank sets owner and mode, as the
// first one unpacked does in dpkg.
type claim struct {
	deb      int // rank
	dir      bool
	mode     uint32
	uid, gid int
}

// unpacker extracts many packages at once. What it makes depends on the packages only, never on their timing.
type unpacker struct {
	root  *root
	debs  []*deb
	epoch int64
	links map[string]bool // merged folders that a package ships as links itself

	mu       sync.Mutex
	claims   map[string]claim
	disputes map[string][]int // path → ranks of the packages that also ship it
	times    map[string]int64 // file times by path, for normalise

	done, total atomic.Int64
}

// unpack fills the root. base-files comes first: it says how the tree's top is laid out.
func unpack(ctx context.Context, r *root, debs []*deb, o Options, p progress.Func) (*unpacker, error) {
	u := &unpacker{
		root: r, debs: debs, epoch: o.Epoch, links: map[string]bool{},
		claims: map[string]claim{}, disputes: map[string][]int{}, times: map[string]int64{},
	}
	for _, d := range debs {
		u.total.Add(d.data.Size())
	}
	for _, name := range merged {
		if err := r.mkdirAll("usr/" + name); err != nil {
			return nil, err
		}
		if err := unix.Symlinkat("usr/"+name, r.fd, name); err != nil {
			return nil, fmt.Errorf("link /%s: %w", name, err)
		}
	}
	first := min(len(debs), 1)
	if err := u.all(ctx, debs[:first], 0, 1, p); err != nil {
		return nil, err
	}
	if err := u.dropUnusedLinks(); err != nil {
		return nil, err
	}
	if err := u.all(ctx, debs[first:], first, o.Jobs, p); err != nil {
		return nil, err
	}
	if err := u.settle(ctx); err != nil {
		return nil, err
	}
	return u, u.finishFolders()
}

// dropUnusedLinks leaves the layout of the top to a base-files that ships the links itself.
func (u *unpacker) dropUnusedLinks() error {
	if len(u.links) == 0 {
		return nil
	}
	for _, name := range merged {
		if u.links[name] {
			continue
		}
		if err := unix.Unlinkat(u.root.fd, name, 0); err != nil {
			return fmt.Errorf("drop link /%s: %w", name, err)
		}
		if err := u.root.removeAll("usr/" + name); err != nil {
			return err
		}
	}
	return nil
}

// all extracts debs, the first of which has the given rank. The largest start first, so that none is waited for alone.
func (u *unpacker) all(ctx context.Context, debs []*deb, rank, jobs int, p progress.Func) error {
	order := make([]int, len(debs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(debs[b].data.Size() - debs[a].data.Size()) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, i := range order {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := u.extract(ctx, debs[i], rank+i, nil); err != nil {
				return fmt.Errorf("unpack %s: %w", debs[i].Name, err)
			}
			p.Count(stage, "unpack", u.done.Add(debs[i].data.Size()), u.total.Load())
			return nil
		})
	}
	return g.Wait()
}

// claim registers that package rank ships path, and says whether it is to write it now. A path that another package
// claimed before is settled when all are through.
func (u *unpacker) claim(path string, c claim, mtime int64) (write bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	old, taken := u.claims[path]
	switch {
	case !taken:
		u.claims[path] = c
		if !c.dir {
			u.times[path] = mtime
		}
		return true, nil
	case old.dir && c.dir:
		if c.deb < old.deb {
			u.claims[path] = c
		}
		return false, nil
	case old.deb == c.deb:
		return false, inputError("ships /%s twice", path)
	case old.dir != c.dir:
		return false, inputError("/%s is a folder in one of %s and %s, and not in the other", path, u.debs[old.deb].Name, u.debs[c.deb].Name)
	}
	u.disputes[path] = append(u.disputes[path], c.deb)
	return false, nil
}

// settle decides who gets each path that several packages ship: the one that Replaces the others, as in dpkg.
func (u *unpacker) settle(ctx context.Context) error {
	wanted := map[int]map[string]bool{} // rank → paths to write now
	for _, path := range slices.Sorted(maps.Keys(u.disputes)) {
		old := u.claims[path]
		winner := old.deb
		all := append([]int{old.deb}, u.disputes[path]...)
		slices.Sort(all)
		for _, rank := range all {
			if rank == winner {
				continue
			}
			take, err := u.beats(ctx, rank, winner)
			if err != nil {
				return err
			}
			keep, err := u.beats(ctx, winner, rank)
			if err != nil {
				return err
			}
			if take == keep {
				return inputError("packages %s and %s both ship /%s and do not say which replaces the other", u.debs[winner].Name, u.debs[rank].Name, path)
			}
			if take {
				winner = rank
			}
		}
		for _, rank := range all {
			if rank != winner {
				u.debs[rank].disown(path)
			}
		}
		if winner != old.deb {
			if wanted[winner] == nil {
				wanted[winner] = map[string]bool{}
			}
			wanted[winner][path] = true
		}
	}
	for _, rank := range slices.Sorted(maps.Keys(wanted)) {
		if err := u.extract(ctx, u.debs[rank], rank, wanted[rank]); err != nil {
			return fmt.Errorf("unpack %s: %w", u.debs[rank].Name, err)
		}
	}
	return nil
}

// beats tells whether package a declares that it replaces files of package b in its version.
func (u *unpacker) beats(ctx context.Context, a, b int) (bool, error) {
	for _, r := range u.debs[a].control.relations("Replaces") {
		if r.name != u.debs[b].Name {
			continue
		}
		if r.op == "" {
			return true, nil
		}
		ok, err := (&chroot{dir: u.root.dir}).compareVersions(ctx, u.debs[b].Version, r.op, r.version)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// disown takes a path off the list of a package that lost it.
func (b *deb) disown(path string) {
	b.list = slices.DeleteFunc(b.list, func(p string) bool { return mergedPath(strings.TrimPrefix(p, "/")) == path })
}

// finishFolders sets owner and mode of the folders that differ from what extraction made, and checks that no package
// put files below what another ships as a link: the result would hang on the order.
func (u *unpacker) finishFolders() error {
	for _, path := range slices.Sorted(maps.Keys(u.claims)) {
		c := u.claims[path]
		for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
			if up, ok := u.claims[path[:i]]; ok && !up.dir {
				return inputError("/%s of %s lies below a link of %s", path, u.debs[c.deb].Name, u.debs[up.deb].Name)
			}
		}
		if !c.dir || c.mode == 0o755 && c.uid == 0 && c.gid == 0 {
			continue
		}
		if err := u.root.chmod(path, c.uid, c.gid, c.mode); err != nil {
			return err
		}
	}
	return nil
}

// mergedPath is where a path of the old layout lies under the merged one.
func mergedPath(path string) string {
	top, _, _ := strings.Cut(path, "/")
	if slices.Contains(merged, top) {
		return "usr/" + path
	}
	return path
}
