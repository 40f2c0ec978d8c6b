package namespace

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/tool"
)

// lastID is the highest user and group id inside: nobody is 65534, and packages use no id above.
const lastID = 65535

type idRange struct{ first, count int }

// idMaps are the subordinate ids of an ordinary caller. A nil *idMaps is root, who needs none.
type idMaps struct {
	uid, gid             int
	uidRanges, gidRanges []idRange
}

// callerMaps finds the ids that the caller may map, or nil for root.
func callerMaps() (*idMaps, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := tool.Look(program); err != nil {
			return nil, fmt.Errorf("build without root: %w", err)
		}
	}
	m := &idMaps{gid: os.Getegid()}
	name, uid := caller()
	m.uid = uid
	for i, ranges := range []*[]idRange{&m.uidRanges, &m.gidRanges} {
		var err error
		if *ranges, err = readRanges(subordinate[i].path, subordinate[i].flag, name, uid); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// subordinate are the files of subordinate user and group ids, and the flags of usermod(8) that add some.
var subordinate = [2]struct{ path, flag string }{{"/etc/subuid", "--add-subuids"}, {"/etc/subgid", "--add-subgids"}}

// caller returns the user of this process; name is "" where he has none.
func caller() (name string, uid int) {
	uid = os.Geteuid()
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	return name, uid
}

// readRanges reads the caller's lines of a subordinate id file (subuid(5)): lastID ids in all.
func readRanges(path, flag, name string, uid int) ([]idRange, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		if ranges, total := parseRanges(f, name, uid); total >= lastID {
			return ranges, nil
		}
	}
	who := name
	if who == "" {
		who = strconv.Itoa(uid)
	}
	err = fault.Mark(fault.Missing, fmt.Errorf("build without root: user %s has fewer than %d subordinate ids in %s", who, lastID, path))
	first := freeRange(path)
	return nil, fault.Hint(err, fmt.Sprintf("sudo usermod %s %d-%d %s", flag, first, first+lastID, who))
}

// freeRange returns the first id above every range of the file: two users must never share subordinate ids.
func freeRange(path string) int {
	free := 100000
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		var first, count int
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) == 3 {
			first, _ = strconv.Atoi(fields[1])
			count, _ = strconv.Atoi(fields[2])
		}
		free = max(free, first+count)
	}
	return free
}

// parseRanges returns the ranges of one user, cut at lastID ids, and how many ids they hold.
func parseRanges(r io.Reader, name string, uid int) (ranges []idRange, total int) {
	for lines := bufio.NewScanner(r); lines.Scan() && total < lastID; {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] == "" || fields[0] != name && fields[0] != strconv.Itoa(uid) {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 31)
		count, err2 := strconv.ParseUint(fields[2], 10, 31)
		if err1 != nil || err2 != nil || count == 0 {
			continue
		}
		n := min(int(count), lastID-total)
		ranges = append(ranges, idRange{int(first), n})
		total += n
	}
	return ranges, total
}

// write maps the caller to 0 and his subordinate ids to 1 and up, for the namespace of process pid.
func (m *idMaps) write(ctx context.Context, pid int) error {
	if m == nil {
		return nil
	}
	if err := tool.Run(ctx, tool.Cmd{Name: "newuidmap", Args: mapArgs(pid, m.uid, m.uidRanges)}); err != nil {
		return err
	}
	return tool.Run(ctx, tool.Cmd{Name: "newgidmap", Args: mapArgs(pid, m.gid, m.gidRanges)})
}

func mapArgs(pid, caller int, ranges []idRange) []string {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(caller), "1"}
	inside := 1
	for _, r := range ranges {
		args = append(args, strconv.Itoa(inside), strconv.Itoa(r.first), strconv.Itoa(r.count))
		inside += r.count
	}
	return args
}
