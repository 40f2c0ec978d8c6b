package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agibake/agibake/internal/artifact"
	"github.com/agibake/agibake/internal/cas"
	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/vm"
	"github.com/agibake/agibake/internal/wire"
)

// writeOut is how long a guest whose disk is kept may take to stop its containers and write everything out. Emulated
// on a busy host it needs more than half a minute.
const writeOut = 2 * time.Minute

type bootFlags struct {
	firmware, accel, name, stop, uuid string
	timeout                           time.Duration
	interactive, detach, offline      bool
	cpus                              int
	memory, disk                      string
	at                                registryFlags
	trust                             trustFlags
}

func newBoot(a *app) *cobra.Command {
	f := &bootFlags{}
	c := &cobra.Command{
		Use:   "boot IMAGE|DIR|REF",
		Short: "Start an appliance in QEMU and report its self-test",
		Long: `Start a baked appliance in QEMU and wait for the verdict of its self-test.
The image is never written: each run gets a disk of its own over it. A run with --name keeps its
disk, so that the next one with that name goes on where it stopped.
An appliance in a registry is verified and fetched first, with a key or a policy as in verify.`,
		Example: `  agibake boot out/demo-1.0.0
  agibake boot out/demo-1.0.0 --firmware secureboot
  agibake boot out/demo-1.0.0 --name mind --detach && agibake boot --stop mind`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.boot(c.Context(), c, f, args) },
	}
	c.Flags().StringVar(&f.firmware, "firmware", "bios", "the `KIND` of firmware: bios, uefi or secureboot")
	c.Flags().StringVar(&f.accel, "accel", "", "`HOW` the processor runs: kvm or tcg; found out by default")
	c.Flags().DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long to wait for the verdict, e.g. 90s")
	c.Flags().BoolVar(&f.interactive, "interactive", false, "give the console to this terminal (Ctrl-A X ends)")
	c.Flags().StringVar(&f.name, "name", "", "keep the machine's disk under this `NAME`")
	c.Flags().BoolVar(&f.detach, "detach", false, "leave the machine running after its verdict (needs --name)")
	c.Flags().StringVar(&f.stop, "stop", "", "stop the machine of this `NAME`")
	c.Flags().BoolVar(&f.offline, "offline", false, "cut the machine off from every network")
	c.Flags().IntVar(&f.cpus, "cpus", 0, "`N` processors; the recipe's by default")
	c.Flags().StringVar(&f.memory, "memory", "", "memory `SIZE`, e.g. 4GiB; the recipe's by default")
	c.Flags().StringVar(&f.disk, "disk", "", "a larger disk `SIZE`, e.g. 40GiB; the image's by default")
	c.Flags().StringVar(&f.uuid, "uuid", "", "the machine's DMI `UUID`, as a hypervisor would give it")
	f.trust.flags(c)
	f.at.flags(c)
	c.Flags().BoolVar(&a.jsonOut, "json", false, "print one JSON document")
	return c
}

func (a *app) boot(ctx context.Context, c *cobra.Command, f *bootFlags, args []string) error {
	switch {
	case f.stop != "":
		dir, err := machineDir(f.stop)
		if err != nil {
			return usage(c, err)
		}
		return vm.StopRecorded(ctx, dir, writeOut)
	case len(args) == 0:
		return usage(c, errors.New("give an image, or the folder that bake wrote"))
	case f.detach && f.name == "":
		return usage(c, errors.New("--detach needs --name"))
	case f.detach && f.interactive:
		return usage(c, errors.New("--detach and --interactive exclude each other"))
	}
	image, release, err := a.local(ctx, c, f, args[0])
	if err != nil {
		return err
	}
	defer release()
	o, err := bootOptions(ctx, c, f, image)
	if err != nil {
		return err
	}
	if f.name == "" {
		if o.Dir, err = os.MkdirTemp("", "agibake-boot-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.Dir)
	} else if r, err := vm.Load(o.Dir); err == nil && r.Running() {
		return fault.Hint(fault.Mark(fault.Usage, fmt.Errorf("machine %s runs already", f.name)), "agibake boot --stop "+f.name)
	}
	return a.runMachine(ctx, o, f)
}

// local returns the image or folder that a reference means on this machine; what lies in a registry is verified and
// fetched. The folder stands until release is called, or as long as a named machine that uses it.
func (a *app) local(ctx context.Context, c *cobra.Command, f *bootFlags, reference string) (image string, release func(), err error) {
	release = func() {}
	if _, err := os.Lstat(reference); err == nil || !isRegistry(reference) {
		return reference, release, nil
	}
	policy, err := f.trust.load(c)
	if err != nil {
		return "", nil, err
	}
	p, err := f.at.openRemote(ctx, reference)
	if err != nil {
		return "", nil, err
	}
	disk, ok := bootDisk(p.appliance)
	if !ok {
		return "", nil, fault.Mark(fault.Input, fmt.Errorf("%s %s has no disk image", p.appliance.Name, p.appliance.Version))
	}
	if _, err := a.judge(ctx, p, policy); err != nil {
		return "", nil, err
	}
	a.warnTag(p)
	var folder string
	if f.name != "" {
		if folder, err = machineDir(f.name); err != nil {
			return "", nil, usage(c, err)
		}
		folder = filepath.Join(folder, "appliance")
	} else {
		store, err := cas.OpenDefault()
		if err != nil {
			return "", nil, err
		}
		release = func() { store.Close() }
		folder = filepath.Join(store.Dir(), "stages", "pulled")
	}
	folder = filepath.Join(folder, p.appliance.Index.Digest.Encoded())
	_, err = a.fetch(ctx, p, folder, []string{disk.Format})
	return folder, release, err
}

// bootDisk is the disk that boots fastest, by preference.
func bootDisk(a *artifact.Appliance) (artifact.Disk, bool) {
	for _, format := range []string{"qcow2", "raw", "vmdk", "ova"} {
		if d, ok := a.Disk(format); ok {
			return d, true
		}
	}
	return artifact.Disk{}, false
}

// bootOptions fills in what the appliance says of the machine that it wants.
func bootOptions(ctx context.Context, c *cobra.Command, f *bootFlags, image string) (vm.Options, error) {
	o := vm.Options{Image: image, Name: f.name, Firmware: vm.Firmware(f.firmware), Accel: f.accel, Interactive: f.interactive,
		Detach: f.detach, Offline: f.offline, UUID: f.uuid, CPUs: 2, Memory: 2 << 30}
	agent := 8443
	info, err := os.Stat(image)
	if err != nil {
		return o, fault.Mark(fault.Input, err)
	}
	dir := filepath.Dir(image)
	if info.IsDir() {
		dir = image
	}
	_, x, err := artifact.OpenFolder(ctx, dir)
	switch {
	case err == nil:
		m := x.Config.Machine
		o.CPUs, o.Memory, agent = m.CPUs, m.Memory, m.Agent
	case info.IsDir():
		return o, fault.Hint(err, "give a disk image, or the folder NAME-VERSION that bake or pull wrote")
	}
	if info.IsDir() {
		if o.Image, err = diskFile(x, image); err != nil {
			return o, err
		}
	}
	if f.cpus > 0 {
		o.CPUs = f.cpus
	}
	if o.Memory, err = sizeFlag(c, "memory", f.memory, o.Memory); err != nil {
		return o, err
	}
	if o.DiskSize, err = sizeFlag(c, "disk", f.disk, 0); err != nil {
		return o, err
	}
	o.Forward = []vm.Forward{{Name: "ssh", Guest: 22}, {Name: "agent", Guest: agent}}
	if f.name != "" {
		o.Dir, err = machineDir(f.name)
		if err != nil {
			return o, usage(c, err)
		}
	}
	return o, nil
}

// diskFile is the disk of an appliance, in its folder, that boots fastest.
func diskFile(x *artifact.Appliance, dir string) (string, error) {
	there := *x
	there.Disks = slices.DeleteFunc(slices.Clone(x.Disks), func(d artifact.Disk) bool {
		_, err := os.Stat(filepath.Join(dir, d.File))
		return err != nil
	})
	d, ok := bootDisk(&there)
	if !ok {
		return "", fault.Mark(fault.Input, fmt.Errorf("%s: holds no disk image", dir))
	}
	return filepath.Join(dir, d.File), nil
}

func (a *app) runMachine(ctx context.Context, o vm.Options, f *bootFlags) error {
	p, done := a.progress()
	if f.interactive {
		p = nil
	}
	p.Step("boot", "power on, "+string(o.Firmware))
	m, err := vm.Start(ctx, o)
	if err != nil {
		done()
		return err
	}
	if m.CPUs < o.CPUs {
		p.Warn("boot", "one processor: this old QEMU hangs when it emulates Secure Boot with several")
	}
	if f.interactive {
		done()
		<-m.Ended()
		return nil
	}
	r, err := m.Verdict(ctx, f.timeout, p)
	done()
	passed := err == nil && r.Verdict.Pass
	if !f.detach || err != nil { // one that says what is wrong with it is left to be looked at
		grace := time.Duration(0)
		if f.name != "" && ctx.Err() == nil {
			grace = writeOut
		}
		if stopErr := m.Stop(context.WithoutCancel(ctx), grace); err == nil {
			err = stopErr
		}
	}
	if r != nil {
		if !f.detach {
			r.Ports = nil
		}
		if printErr := a.printResult(r); printErr != nil {
			return printErr
		}
	}
	if err == nil && !passed {
		err = fault.Mark(fault.CheckFailed, errors.New("the self-test failed"))
		if f.detach {
			err = fault.Hint(err, "the machine runs on and answers by ssh; agibake boot --stop "+f.name+" ends it")
		}
	}
	return err
}

func (a *app) printResult(r *vm.Result) error {
	if a.jsonOut {
		return a.printJSON(r)
	}
	for _, line := range r.Console {
		fmt.Fprintln(a.stderr, "console: "+line)
	}
	v := r.Verdict
	if v == nil {
		return nil
	}
	fmt.Fprintf(a.stdout, "%s %s, %s, %s\n", v.Appliance, v.Version, v.Firmware, r.Accel)
	for _, check := range v.Checks {
		fmt.Fprintf(a.stdout, "  %-10s %-4s %s\n", check.Name, check.Status, clean(check.Detail))
	}
	if v.Answer != "" {
		fmt.Fprintf(a.stdout, "question: %s\nanswer:   %s\n", clean(v.Question), clean(v.Answer))
	}
	word := "FAIL"
	if v.Pass {
		word = "PASS"
	}
	fmt.Fprintf(a.stdout, "%s %s, %.1f s after power-on\n", wire.VerdictMark, word, r.Seconds)
	for _, port := range r.Ports {
		fmt.Fprintf(a.stdout, "%-6s 127.0.0.1:%d\n", port.Name, port.Host)
	}
	return nil
}

var machineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)

// machineDir is where a named machine keeps its disk ($XDG_STATE_HOME, XDG base directory specification).
func machineDir(name string) (string, error) {
	if !machineName.MatchString(name) {
		return "", fmt.Errorf("machine name %q: letters, digits and . _ - only", name)
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "agibake", "machines", name), nil
}
