package configure

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
	"github.com/agibake/agibake/internal/tree"
)

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// adminGroups are those that a user with sudo joins, where the system has them.
var adminGroups = []string{"adm", "docker", "sudo", "systemd-journal"}

const firstUID, firstSubID, subIDs = 1000, 100000, 65536

// users adds the recipe's logins. Their passwords are locked: they come in by key only.
func users(b *builder, o Options) error {
	var sudoers []string
	for _, u := range o.Lock.Recipe.Access.Users {
		if err := b.user(u); err != nil {
			return input(fmt.Errorf("user %s: %w", u.Name, err))
		}
		if u.Sudo && u.Name != "root" {
			sudoers = append(sudoers, u.Name+" ALL=(ALL:ALL) NOPASSWD: ALL\n")
		}
	}
	if sudoers == nil {
		return nil
	}
	if !b.exists("etc/sudoers") {
		return input(fault.Hint(errors.New("access.users asks for sudo, which is not installed"), "add the package sudo to base.packages"))
	}
	return b.file("/etc/sudoers.d/90-agibake", []byte(strings.Join(sudoers, "")), 0o440)
}

func (b *builder) user(u recipe.User) error {
	if !userName.MatchString(u.Name) {
		return errors.New("not a valid login name")
	}
	passwd, err := b.read("etc/passwd")
	if err != nil {
		return err
	}
	fields := record(passwd, u.Name)
	if fields == nil {
		if fields, err = b.addUser(u, passwd); err != nil {
			return err
		}
	}
	if len(fields) != 7 {
		return errors.New("damaged line in /etc/passwd")
	}
	if err := b.join(u); err != nil {
		return err
	}
	uid, err1 := strconv.Atoi(fields[2])
	gid, err2 := strconv.Atoi(fields[3])
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("damaged line in /etc/passwd: %w", err)
	}
	return b.keys(fields[5], uid, gid, u.AuthorizedKeys)
}

// addUser appends to the account files as useradd would, and returns the new passwd fields.
func (b *builder) addUser(u recipe.User, passwd string) ([]string, error) {
	shell := cmp.Or(u.Shell, "/bin/bash")
	if !b.exists(shell) {
		return nil, fmt.Errorf("shell %s is not in the system", shell)
	}
	group, err := b.read("etc/group")
	if err != nil {
		return nil, err
	}
	uid, gid := freeID(passwd, firstUID), freeID(group, firstUID)
	if id := max(uid, gid); record(group, u.Name) == nil {
		uid, gid = id, id
	} else if gid, err = strconv.Atoi(record(group, u.Name)[2]); err != nil {
		return nil, fmt.Errorf("damaged line in /etc/group: %w", err)
	}
	fields := []string{u.Name, "x", strconv.Itoa(uid), strconv.Itoa(gid), "", "/home/" + u.Name, shell}
	lines := []struct{ file, line string }{
		{"etc/passwd", strings.Join(fields, ":")},
		{"etc/shadow", fmt.Sprintf("%s:!:%d:0:99999:7:::", u.Name, b.epoch/86400)},
	}
	if record(group, u.Name) == nil {
		lines = append(lines, []struct{ file, line string }{
			{"etc/group", fmt.Sprintf("%s:x:%d:", u.Name, gid)},
			{"etc/gshadow", u.Name + ":!::"},
		}...)
	}
	for _, f := range []string{"etc/subuid", "etc/subgid"} {
		if old, err := b.read(f); err == nil && b.exists(f) {
			lines = append(lines, struct{ file, line string }{f, fmt.Sprintf("%s:%d:%d", u.Name, freeSubID(old), subIDs)})
		}
	}
	for _, l := range lines {
		if err := b.edit(l.file, func(old string) string { return endLine(old) + l.line + "\n" }); err != nil {
			return nil, err
		}
	}
	return fields, b.home("/home/"+u.Name, uid, gid)
}

// join adds a user to groups, in /etc/group and /etc/gshadow.
func (b *builder) join(u recipe.User) error {
	group, err := b.read("etc/group")
	if err != nil {
		return err
	}
	want := slices.Clone(u.Groups)
	for _, g := range u.Groups {
		if record(group, g) == nil {
			return fmt.Errorf("group %q is not in the system", g)
		}
	}
	for _, g := range adminGroups {
		if u.Sudo && u.Name != "root" && record(group, g) != nil {
			want = append(want, g)
		}
	}
	if len(want) == 0 {
		return nil
	}
	add := func(old string) string { return addMember(old, want, u.Name) }
	return errors.Join(b.edit("etc/group", add), b.edit("etc/gshadow", add))
}

// home makes a home folder with the skeleton in it.
func (b *builder) home(dir string, uid, gid int) error {
	if err := b.dir(dir, 0o750, uid, gid); err != nil {
		return err
	}
	for _, e := range b.all.Entries() {
		rest, ok := strings.CutPrefix(e.Path, "etc/skel/")
		if !ok || e.Type == tree.Hardlink {
			continue
		}
		c := *e
		c.UID, c.GID = uid, gid
		if err := b.put(dir+"/"+rest, c); err != nil {
			return err
		}
	}
	return nil
}

// keys writes authorized_keys with the modes that sshd insists on (StrictModes).
func (b *builder) keys(home string, uid, gid int, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	for _, k := range keys {
		if strings.ContainsAny(k, "\n\r") || len(strings.Fields(k)) < 2 {
			return fmt.Errorf("authorized key %q: not one line of type and key", k)
		}
	}
	data := strings.Join(keys, "\n") + "\n"
	if err := b.dir(home+"/.ssh", 0o700, uid, gid); err != nil {
		return err
	}
	return b.put(home+"/.ssh/authorized_keys", tree.Entry{Type: tree.File, Mode: 0o600, UID: uid, GID: gid, Size: int64(len(data)), Open: tree.Bytes([]byte(data))})
}

// owner resolves name[:group] by the tree's own accounts. An empty one is root.
func (b *builder) owner(text string) (uid, gid int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	name, group, split := strings.Cut(text, ":")
	passwd, err := b.read("etc/passwd")
	if err != nil {
		return 0, 0, err
	}
	groups, err := b.read("etc/group")
	if err != nil {
		return 0, 0, err
	}
	user := record(passwd, name)
	if len(user) < 4 {
		return 0, 0, fmt.Errorf("owner %q is not in the system", name)
	}
	gidText := user[3]
	if split {
		g := record(groups, group)
		if len(g) < 3 {
			return 0, 0, fmt.Errorf("group %q is not in the system", group)
		}
		gidText = g[2]
	}
	uid, err1 := strconv.Atoi(user[2])
	gid, err2 := strconv.Atoi(gidText)
	return uid, gid, errors.Join(err1, err2)
}
