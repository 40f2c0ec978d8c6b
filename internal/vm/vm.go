// Package vm runs an appliance in QEMU on this host and listens for the verdict of its self-test.
package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agibake/agibake/internal/atomicfile"
	"github.com/agibake/agibake/internal/tool"
)

// Options describes one run of a machine.
type Options struct {
	Image       string // qcow2, vmdk, raw or ova file; it is never written
	Dir         string // the machine's own folder: disk overlay, firmware variables, console, verdict
	Name        string // shown to QEMU and kept in Record
	Firmware    Firmware
	Accel       string // kvm, tcg, or "" to find out
	CPUs        int
	Memory      int64     // bytes
	DiskSize    int64     // bytes; 0 keeps the image's size
	UUID        string    // DMI UUID; "" lets QEMU leave it unset
	Forward     []Forward // ports of the guest to reach from this host
	Offline     bool      // cut the guest off from every network but the forwarded ports
	Interactive bool      // the console is the caller's terminal
	Detach      bool      // the machine outlives this process
}

// Forward is a guest port made reachable on the loopback address.
type Forward struct {
	Name  string `json:"name"`
	Guest int    `json:"guest"`
	Host  int    `json:"host"` // chosen by Start when 0
}

// Record is what is kept of a machine, in its folder.
type Record struct {
	Name     string    `json:"name"`
	Image    string    `json:"image"`
	Pid      int       `json:"pid"`
	CPUs     int       `json:"cpus"` // may be fewer than asked for: old emulators hang with several
	Accel    string    `json:"accel"`
	Firmware Firmware  `json:"firmware"`
	Ports    []Forward `json:"ports"`
}

// Machine is a running guest.
type Machine struct {
	Record
	dir   string
	proc  *tool.Process
	ended chan struct{}
	err   error
	start time.Time
}

func consolePath(dir string) string { return filepath.Join(dir, "console.log") }
func verdictPath(dir string) string { return filepath.Join(dir, "selftest.jsonl") }
func recordPath(dir string) string  { return filepath.Join(dir, "machine.json") }

// Start powers a machine on. Cancelling ctx ends it, unless it was detached.
func Start(ctx context.Context, o Options) (*Machine, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	disk := filepath.Join(o.Dir, "disk.qcow2")
	if err := overlay(ctx, o.Image, disk, o.DiskSize); err != nil {
		return nil, err
	}
	if o.Accel == "" {
		o.Accel = Accel(ctx)
	}
	o.CPUs = processors(ctx, o)
	if err := choosePorts(o.Forward); err != nil {
		return nil, err
	}
	args, err := arguments(o, disk)
	if err != nil {
		return nil, err
	}
	m := &Machine{dir: o.Dir, ended: make(chan struct{}), start: time.Now(),
		Record: Record{Name: o.Name, Image: o.Image, CPUs: o.CPUs, Accel: o.Accel, Firmware: o.Firmware, Ports: o.Forward}}
	if err := os.Remove(verdictPath(o.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return m, m.launch(ctx, o, args)
}

func (m *Machine) launch(ctx context.Context, o Options, args []string) error {
	cmd := tool.Cmd{Name: qemu, Args: args, Attr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if o.Interactive {
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	}
	if o.Detach {
		ctx = context.WithoutCancel(ctx)
		cmd.Attr = &syscall.SysProcAttr{Setsid: true}
	}
	proc, err := tool.Start(ctx, cmd)
	if err != nil {
		return err
	}
	m.proc, m.Pid = proc, proc.Pid()
	go func() {
		m.err = proc.Wait()
		close(m.ended)
	}()
	data, err := json.MarshalIndent(m.Record, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(recordPath(o.Dir), data, 0o600)
}

// arguments is QEMU's command line.
func arguments(o Options, disk string) ([]string, error) {
	args, err := firmwareArgs(o.Firmware, o.Dir)
	if err != nil {
		return nil, err
	}
	accel, cpu := "tcg,thread=multi", "max"
	if o.Accel == "kvm" {
		accel, cpu = "kvm", "host"
	}
	args = append(args, "-name", "agibake-"+o.Name, "-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(o.CPUs),
		"-m", strconv.FormatInt(o.Memory>>20, 10), "-nodefaults", "-vga", "std", "-display", "none",
		"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file="+escape(disk),
		"-device", "virtio-blk-pci,drive=disk,bootindex=0",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "file,id=verdict,path="+escape(verdictPath(o.Dir)),
		"-device", "virtserialport,chardev=verdict,name=org.agibake.selftest",
		"-netdev", network(o), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-qmp", "unix:"+escape(filepath.Join(o.Dir, "qmp.sock"))+",server=on,wait=off")
	if o.UUID != "" {
		args = append(args, "-uuid", o.UUID)
	}
	if o.Interactive {
		return append(args, "-chardev", "stdio,id=console,mux=on,signal=off,logfile="+escape(consolePath(o.Dir)),
			"-serial", "chardev:console", "-mon", "chardev=console"), nil
	}
	return append(args, "-serial", "file:"+consolePath(o.Dir)), nil
}

func network(o Options) string {
	net := "user,id=net"
	if o.Offline {
		net += ",restrict=on"
	}
	for _, f := range o.Forward {
		net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	return net
}

// choosePorts finds a free loopback port for each forward that names none.
func choosePorts(list []Forward) error {
	for i := range list {
		if list[i].Host != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		list[i].Host = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// escape doubles commas, which separate the parts of a QEMU argument.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
