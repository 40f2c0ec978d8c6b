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

// The switches of kernels and distributions that forbid namespaces, each with the value that does and the remedy.
var restrictions = []struct{ file, value, hint string }{
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "Ubuntu forbids ordinary programs user namespaces with capabilities; " +
		"sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows them, or run as root"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1, or run as root"},
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000, or run as root"},
}

func restrictionHint() string {
	for _, r := range restrictions {
		if data, err := os.ReadFile(r.file); err == nil && strings.TrimSpace(string(data)) == r.value {
			return r.hint
		}
	}
	return "this host or container allows no mount namespaces: run as root outside of a container, or give the container CAP_SYS_ADMIN"
}
