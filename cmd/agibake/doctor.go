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
	Setup   string `json:"setup,omitempty"`   // what root must run beside that: lines of a shell script
}

// hostTools are the programs that agibake runs, with the verbs that need them.
var hostTools = []struct{ name, need string }{
	{"apt-get", "lock, bake"}, {"gpgv", "lock, bake"}, {"xz", "bake"}, {"qemu-system-x86_64", "boot"}, {"qemu-img", "boot"},
}

func newDoctor(a *app) *cobra.Command {
	packages, setup := false, false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host lacks, with the command that installs it",
		Example: `  agibake doctor
  agibake doctor --setup | sudo sh`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list := examine(c.Context())
			switch {
			case packages:
				fmt.Fprintln(a.stdout, strings.Join(missing(list), " "))
				return nil
			case setup:
				for _, f := range list {
					fmt.Fprint(a.stdout, f.Setup)
				}
				return nil
			}
			return a.doctor(list)
		},
	}
	c.Flags().BoolVar(&packages, "packages", false, "print only the missing packages, for a script")
	c.Flags().BoolVar(&setup, "setup", false, "print only what root must run beside installing packages")
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

// missing lists the packages that the host lacks, each once.
func missing(list []finding) []string {
	var names []string
	for _, f := range list {
		if !f.OK && f.Package != "" && !slices.Contains(names, f.Package) {
			names = append(names, f.Package)
		}
	}
	return names
}

func (a *app) doctor(list []finding) error {
	if a.jsonOut {
		if err := a.printJSON(list); err != nil {
			return err
		}
	} else {
		a.printFindings(list)
	}
	if !slices.ContainsFunc(list, func(f finding) bool { return !f.OK && f.Need != "" }) {
		return nil
	}
	err := fault.Mark(fault.Missing, errors.New("this host lacks something"))
	if names := missing(list); len(names) > 0 {
		err = fault.Hint(err, "sudo apt-get install "+strings.Join(names, " "))
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
			fmt.Fprintf(a.stdout, "%-8s fix: %s\n", "", f.Command)
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
		for _, line := range namespace.Setup() {
			f.Setup += line + "\n"
		}
	}
	return f
}
