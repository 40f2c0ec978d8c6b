package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/namespace"
	"github.com/agibake/agibake/internal/tool"
	"github.com/agibake/agibake/internal/vm"
)

// finding is one line of the doctor's report.
type finding struct {
	Name    string `json:"name"`
	Need    string `json:"need"` // the verbs that cannot do without it; "" = only advice
	OK      bool   `json:"ok"`
	Detail  string `json:"detail,omitempty"`
	Package string `json:"package,omitempty"` // Debian and Ubuntu package that brings it
	Command string `json:"command,omitempty"` // what to run
}

// hostTools are the programs that agibake runs, with the verbs that need them.
var hostTools = []struct{ name, need string }{
	{"apt-get", "lock, bake"}, {"apt-cache", "lock, bake"}, {"gpgv", "lock, bake"}, {"dpkg", "lock, bake"}, {"xz", "bake"},
	{"qemu-system-x86_64", "boot"}, {"qemu-img", "boot"},
}

func newDoctor(a *app) *cobra.Command {
	packages := false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host lacks, with the command that installs it",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return a.doctor(c.Context(), packages) },
	}
	c.Flags().BoolVar(&packages, "packages", false, "print only the missing packages, for a script")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) doctor(ctx context.Context, onlyPackages bool) error {
	list := examine(ctx)
	var missing []string
	bad := false
	for _, f := range list {
		if !f.OK && f.Package != "" && !slices.Contains(missing, f.Package) {
			missing = append(missing, f.Package)
		}
		bad = bad || !f.OK && f.Need != ""
	}
	switch {
	case onlyPackages:
		fmt.Fprintln(a.stdout, strings.Join(missing, " "))
		return nil
	case a.jsonOut:
		if err := a.printJSON(list); err != nil {
			return err
		}
	default:
		a.printFindings(list)
	}
	if !bad {
		return nil
	}
	err := fault.Mark(fault.Missing, errors.New("this host lacks something"))
	if len(missing) > 0 {
		err = fault.Hint(err, "sudo apt-get install "+strings.Join(missing, " "))
	}
	return err
}

func (a *app) printFindings(list []finding) {
	for _, f := range list {
		mark := "ok"
		switch {
		case !f.OK && f.Need != "":
			mark = "MISSING"
		case !f.OK:
			mark = "-"
		}
		fmt.Fprintf(a.stdout, "%-8s %-20s %s\n", mark, f.Name, f.Detail)
		if !f.OK && f.Command != "" {
			fmt.Fprintf(a.stdout, "%-8s run: %s\n", "", f.Command)
		}
	}
}

func examine(ctx context.Context) []finding {
	var list []finding
	for _, t := range hostTools {
		path, err := tool.Look(t.name)
		f := finding{Name: t.name, Need: t.need, Detail: path, Package: tool.Packages[t.name]}
		if err != nil {
			f.Detail = "for " + t.need
		} else if err = tool.Fit(ctx, t.name); err != nil {
			f.Detail = err.Error()
		}
		f.OK, f.Command = err == nil, fault.HintOf(err)
		list = append(list, f)
	}
	list = append(list, privileges(ctx))
	for _, f := range []vm.Firmware{vm.UEFI, vm.SecureBoot} {
		err := vm.HasFirmware(f)
		list = append(list, finding{Name: "firmware " + string(f), Need: "boot", OK: err == nil, Package: "ovmf",
			Detail: "for boot --firmware " + string(f), Command: fault.HintOf(err)})
	}
	kvm := finding{Name: "KVM", OK: true, Detail: "runs guests"}
	if _, err := tool.Look("qemu-system-x86_64"); err != nil || vm.Accel(ctx) != "kvm" {
		kvm.OK, kvm.Detail = false, "boots run slower, emulated"
	}
	return append(list, kvm)
}

// privileges reports whether a bake may build a root file system as this user.
func privileges(ctx context.Context) finding {
	f := finding{Name: "namespaces", Need: "bake", OK: true, Detail: "as root"}
	if os.Geteuid() != 0 {
		f.Detail = "as an ordinary user"
	}
	if err := namespace.Check(ctx); err != nil {
		f.OK, f.Detail, f.Command = false, err.Error(), fault.HintOf(err)
		if strings.HasSuffix(f.Command, " uidmap") {
			f.Package = "uidmap"
		}
	}
	return f
}
