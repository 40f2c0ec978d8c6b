package namespace

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/agibake/agibake/internal/fault"
)

// explain turns the refusal of a namespace into what the host lacks. Other errors pass unchanged.
func explain(err error) error {
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, syscall.EINVAL) || strings.Contains(err.Error(), "not permitted")
	if !refused {
		return err
	}
	return fault.Hint(fault.Mark(fault.Missing, err), restrictionHint())
}

// The switches of kernels and distributions that forbid ordinary users namespaces, each with the value that does.
var restrictions = []struct{ file, value, hint, setup string }{
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		"Ubuntu's AppArmor lets only programs that it knows use namespaces; agibake doctor --setup | sudo sh makes this one known", allow},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1, or run as root",
		"sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000, or run as root",
		"sysctl -w user.max_user_namespaces=15000"},
}

// allow writes and loads a profile that lets one program use namespaces, as Ubuntu's own profiles do for theirs
// (apparmor.d(5), userns rules). PROGRAM stands for its path.
const allow = `cat >/etc/apparmor.d/agibake <<'END'
abi <abi/4.0>,
profile agibake "PROGRAM" flags=(unconfined) {
  userns,
}
END
apparmor_parser -r /etc/apparmor.d/agibake`

func restrictionHint() string {
	for _, r := range restrictions {
		if set(r.file, r.value) {
			return r.hint
		}
	}
	return "this host or container allows no mount namespaces: run as root outside of a container, or give the container CAP_SYS_ADMIN"
}

func set(file, value string) bool {
	data, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(data)) == value
}

// Setup returns the shell commands with which root lets this user, with this program, use namespaces; none for root and
// where nothing known is in the way.
func Setup() []string {
	exe, err := os.Executable()
	if os.Geteuid() == 0 || err != nil {
		return nil
	}
	var list []string
	name, uid := caller()
	for _, f := range subordinate {
		if _, err := readRanges(f.path, f.flag, name, uid); err != nil {
			list = append(list, strings.TrimPrefix(fault.HintOf(err), "sudo "))
		}
	}
	return append(list, lift(exe)...)
}

// lift returns the commands that end the restrictions in force for one program.
func lift(program string) (list []string) {
	for _, r := range restrictions {
		if set(r.file, r.value) && !strings.ContainsAny(program, "\"\n") {
			list = append(list, strings.ReplaceAll(r.setup, "PROGRAM", program))
		}
	}
	return list
}
