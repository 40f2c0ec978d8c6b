package ova

import (
	"archive/tar"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/agibake/agibake/internal/format/vmdk"
)

// Finding is one rule that an archive breaks.
type Finding struct {
	Rule  string   `json:"rule"`
	Hosts []string `json:"hosts"` // the importers that mind
	Text  string   `json:"text"`
}

const (
	vmware     = "VMware"
	virtualBox = "VirtualBox"
	proxmox    = "Proxmox"
)

type rule struct {
	name  string
	hosts []string
	test  func(a *Archive) error
}

// rules are what importers are known to stumble over; docs/formats-disk.md gives the reasons.
func rules() []rule {
	all := []string{vmware, virtualBox, proxmox}
	return []rule{
		{"order", all, checkOrder},
		{"tar-form", []string{vmware, virtualBox}, checkTar},
		{"manifest", []string{vmware, virtualBox}, checkManifest},
		{"certificate", []string{vmware, virtualBox}, checkCertificate},
		{"ovf-1", []string{vmware}, checkVersion},
		{"prefixes", []string{vmware, proxmox}, checkPrefixes},
		{"system-type", []string{vmware}, checkSystemType},
		{"os-type", []string{vmware, virtualBox}, checkOS},
		{"memory", []string{virtualBox, proxmox}, checkMemory},
		{"disk-units", []string{virtualBox}, checkDiskUnits},
		{"disk-on-sata", all, checkController},
		{"host-resource", []string{proxmox}, checkHostResource},
		{"network", all, checkNetwork},
		{"unknown-items", []string{virtualBox}, checkItems},
		{"optional-config", []string{virtualBox}, checkConfig},
		{"boot-order", []string{vmware}, checkBootOrder},
		{"vbox-machine", []string{virtualBox}, checkMachine},
		{"disk-image", []string{vmware, virtualBox}, checkDisk},
	}
}

// Check holds an archive against the rules of VMware, VirtualBox and Proxmox and returns what it breaks. It reads the
// structures, not the disk's data: see Verify for the digests.
func Check(a *Archive) []Finding {
	list := []Finding{}
	for _, r := range rules() {
		if err := r.test(a); err != nil {
			list = append(list, Finding{r.name, r.hosts, err.Error()})
		}
	}
	return list
}

func checkOrder(a *Archive) error {
	var kinds []string
	for _, m := range a.Members {
		kinds = append(kinds, path.Ext(m.Name))
	}
	if len(kinds) < 2 || kinds[0] != ".ovf" {
		return errors.New("the descriptor is not the first file")
	}
	if i := slices.Index(kinds, ".mf"); i >= 0 && i != 1 {
		return errors.New("the manifest does not follow the descriptor")
	}
	if i := slices.Index(kinds, ".cert"); i >= 0 && (i != 2 || kinds[1] != ".mf") {
		return errors.New("the certificate does not follow the manifest")
	}
	return nil
}

func checkCertificate(a *Archive) error {
	if _, err := a.VerifySignature(); err != nil {
		return fmt.Errorf("a certificate that is wrong stops the importer: %w", err)
	}
	return nil
}

func checkTar(a *Archive) error {
	const ustarLimit = 8 << 30
	for _, m := range a.Members {
		switch {
		case m.Format != tar.FormatUSTAR && m.Format != tar.FormatGNU:
			return fmt.Errorf("%s is in tar form %v, not USTAR or GNU", m.Name, m.Format)
		case m.Size >= ustarLimit && m.Format != tar.FormatGNU:
			return fmt.Errorf("%s has over 8 GiB and is not in GNU form", m.Name)
		case m.UID != 0 || m.GID != 0 || m.Mode&0o7777 != 0o644:
			return fmt.Errorf("%s belongs to %d:%d, mode %#o, not 0:0, mode 0644", m.Name, m.UID, m.GID, m.Mode)
		}
	}
	return nil
}

var exactLine = regexp.MustCompile(`^SHA256\([^()\s]+\)= [0-9a-f]{64}\n$`)

func checkManifest(a *Archive) error {
	if a.rawMF == nil {
		return errors.New("there is no manifest")
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(a.rawMF)) {
		if !exactLine.MatchString(line) {
			return fmt.Errorf("manifest line %q is not `SHA256(file)= digest`", strings.TrimSpace(line))
		}
	}
	for _, d := range a.Manifest {
		named[d.Name] = true
	}
	for _, m := range a.Members {
		if kind := path.Ext(m.Name); kind != ".mf" && kind != ".cert" && !named[m.Name] {
			return fmt.Errorf("the manifest has no line for %s", m.Name)
		}
	}
	return nil
}

func checkVersion(a *Archive) error {
	if ns := a.Envelope.XMLName.Space; ns != nsOVF {
		return fmt.Errorf("the descriptor is in %s, not OVF 1", ns)
	}
	if len(a.Envelope.System.Hardware.StorageItems) > 0 {
		return errors.New("StorageItem is of OVF 2")
	}
	return nil
}

// checkPrefixes looks at the root as text: some readers match the customary prefixes, not the namespaces.
func checkPrefixes(a *Archive) error {
	d := xml.NewDecoder(bytes.NewReader(a.Descriptor))
	for {
		t, err := d.RawToken()
		if err != nil {
			return err
		}
		root, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		for prefix, ns := range map[string]string{"ovf": nsOVF, "rasd": nsRASD, "vssd": nsVSSD, "vmw": nsVMW} {
			if !slices.Contains(root.Attr, xml.Attr{Name: xml.Name{Space: "xmlns", Local: prefix}, Value: ns}) {
				return fmt.Errorf("the root does not declare xmlns:%s", prefix)
			}
		}
		return nil
	}
}

func checkSystemType(a *Archive) error {
	if t := a.Envelope.System.Hardware.Type; !strings.HasPrefix(t, "vmx-") {
		return fmt.Errorf("the virtual system type %q is no vmx version", t)
	}
	return nil
}

func checkOS(a *Archive) error {
	if os := a.Envelope.System.OS; os.ID == "" || os.Type == "" || os.VBox == "" {
		return fmt.Errorf("the operating system is id %q, vmw:osType %q, vbox:OSType %q: all three are needed", os.ID, os.Type, os.VBox)
	}
	return nil
}

// items returns the devices of a type.
func (a *Archive) items(kind int) []Item {
	var list []Item
	for _, i := range a.Envelope.System.Hardware.Items {
		if i.Type == kind {
			list = append(list, i)
		}
	}
	return list
}

func checkMemory(a *Archive) error {
	m, c := a.items(typeMemory), a.items(typeCPU)
	if len(m) != 1 || m[0].Units != unitsMiB || m[0].Quantity < 1 {
		return fmt.Errorf("memory must be one item in units of %q", unitsMiB)
	}
	if len(c) != 1 || c[0].Quantity < 1 {
		return errors.New("there must be one item of processors")
	}
	return nil
}

func checkDiskUnits(a *Archive) error {
	for _, d := range a.Envelope.Disks {
		if d.Units != unitsMiB {
			return fmt.Errorf("disk %s has its capacity in %q, not %q", d.ID, d.Units, unitsMiB)
		}
	}
	return nil
}

func checkController(a *Archive) error {
	for _, d := range a.items(typeDisk) {
		ok := slices.ContainsFunc(a.items(typeSATA), func(c Item) bool { return c.ID == d.Parent && c.SubType == "vmware.sata.ahci" })
		if !ok {
			return fmt.Errorf("%q is not on a SATA controller", d.Name)
		}
	}
	return nil
}

func checkHostResource(a *Archive) error {
	disks := a.items(typeDisk)
	if len(disks) == 0 {
		return errors.New("there is no disk")
	}
	for _, d := range disks {
		id, ok := strings.CutPrefix(d.HostResource, "ovf:/disk/")
		known := false
		for _, e := range a.Envelope.Disks {
			known = known || e.ID == id
		}
		if !ok || !known {
			return fmt.Errorf("host resource %q is no ovf:/disk/ID of the disk section", d.HostResource)
		}
	}
	return nil
}

func checkNetwork(a *Archive) error {
	for _, n := range a.items(typeEthernet) {
		if n.SubType != "E1000" && n.SubType != "VmxNet3" {
			return fmt.Errorf("network adapter %q is neither E1000 nor VmxNet3", n.SubType)
		}
	}
	return nil
}

func checkItems(a *Archive) error {
	known := []int{typeCPU, typeMemory, typeEthernet, typeDisk, typeSATA}
	for _, i := range a.Envelope.System.Hardware.Items {
		if !slices.Contains(known, i.Type) && i.Required != "false" {
			return fmt.Errorf("%q of resource type %d must be marked ovf:required=\"false\"", i.Name, i.Type)
		}
	}
	return nil
}

func checkConfig(a *Archive) error {
	for _, c := range a.Envelope.System.Hardware.Config {
		if c.Required != "false" {
			return fmt.Errorf("vmw:Config %s must be marked ovf:required=\"false\"", c.Key)
		}
	}
	return nil
}

func checkBootOrder(a *Archive) error {
	if a.Envelope.System.BootOrder != nil {
		return errors.New("a BootOrderSection turns EFI into BIOS")
	}
	return nil
}

func checkMachine(a *Archive) error {
	if a.Envelope.System.Machine != nil {
		return errors.New("a vbox:Machine element must repeat the disk's UUID")
	}
	return nil
}

func checkDisk(a *Archive) error {
	m, err := a.Disk()
	if err != nil {
		return err
	}
	image, err := vmdk.Open(a.Section(m), m.Size)
	if err != nil {
		return err
	}
	d := a.Envelope.Disks[0]
	switch {
	case image.Version != 3 || !image.Compressed || image.Descriptor["createType"] != "streamOptimized":
		return fmt.Errorf("the disk is %s version %d, not streamOptimized version 3", image.Descriptor["createType"], image.Version)
	case image.Trailing != 0:
		return fmt.Errorf("%d bytes follow the disk's end-of-stream marker", image.Trailing)
	case image.Descriptor["ddb.adapterType"] != "lsilogic":
		return fmt.Errorf("the disk's adapter type is %q, not lsilogic", image.Descriptor["ddb.adapterType"])
	case image.Size() != d.Capacity<<20:
		return fmt.Errorf("the disk holds %d bytes, the descriptor says %d MiB", image.Size(), d.Capacity)
	}
	for key := range image.Descriptor {
		if strings.HasPrefix(key, "ddb.tools") {
			return fmt.Errorf("VirtualBox 5.2 rejects the disk's line %s", key)
		}
	}
	return nil
}
