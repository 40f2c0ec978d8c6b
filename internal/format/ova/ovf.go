package ova

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// The namespaces of an OVF 1.x descriptor.
const (
	nsOVF  = "http://schemas.dmtf.org/ovf/envelope/1"
	nsRASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
	nsVSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
	nsVMW  = "http://www.vmware.com/schema/ovf"
	nsVBox = "http://www.virtualbox.org/ovf/machine"

	formatVMDK  = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
	unitsMiB    = "byte * 2^20"
	diskID      = "vmdisk1"
	fileID      = "file1"
	networkName = "VM Network" // the default network of ESXi; VirtualBox bridges unknown names

	osUbuntu64  = 94 // CIM_OperatingSystem.OsType "Ubuntu 64-Bit"
	osTypeVMW   = "ubuntu64Guest"
	osTypeVBox  = "Ubuntu_64"
	hardwareVMX = "vmx-15" // ESXi 6.7 U2 and later
)

// The resource types that a descriptor uses (CIM_ResourceAllocationSettingData.ResourceType).
const (
	typeCPU      = 3
	typeMemory   = 4
	typeEthernet = 10
	typeDisk     = 17
	typeSATA     = 20 // "Other storage device"
)

// envelope is the root of a descriptor (DSP0243, section 7). Names carry their prefixes: readers in the field match those.
type envelope struct {
	XMLName xml.Name `xml:"Envelope"`
	Default string   `xml:"xmlns,attr"`
	OVF     string   `xml:"xmlns:ovf,attr"`
	RASD    string   `xml:"xmlns:rasd,attr"`
	VSSD    string   `xml:"xmlns:vssd,attr"`
	VMW     string   `xml:"xmlns:vmw,attr"`
	VBox    string   `xml:"xmlns:vbox,attr"`
	File    file     `xml:"References>File"`
	Disks   struct {
		Info string
		Disk disk
	} `xml:"DiskSection"`
	Networks struct {
		Info    string
		Network struct {
			Name        string `xml:"ovf:name,attr"`
			Description string
		}
	} `xml:"NetworkSection"`
	System virtualSystem `xml:"VirtualSystem"`
}

type file struct {
	ID   string `xml:"ovf:id,attr"`
	Href string `xml:"ovf:href,attr"`
	Size int64  `xml:"ovf:size,attr"`
}

type disk struct {
	ID        string `xml:"ovf:diskId,attr"`
	FileRef   string `xml:"ovf:fileRef,attr"`
	Capacity  int64  `xml:"ovf:capacity,attr"`
	Units     string `xml:"ovf:capacityAllocationUnits,attr"`
	Format    string `xml:"ovf:format,attr"`
	Populated int64  `xml:"ovf:populatedSize,attr"`
}

type virtualSystem struct {
	ID       string `xml:"ovf:id,attr"`
	Info     string
	Name     string
	OS       operatingSystem `xml:"OperatingSystemSection"`
	Hardware hardware        `xml:"VirtualHardwareSection"`
	Product  struct {
		Info, Product, Version, FullVersion string
	} `xml:"ProductSection"`
	Annotation *annotation `xml:"AnnotationSection"`
}

type operatingSystem struct {
	ID          int    `xml:"ovf:id,attr"`
	VMW         string `xml:"vmw:osType,attr"`
	Info        string
	Description string
	VBox        struct {
		Required bool   `xml:"ovf:required,attr"`
		Type     string `xml:",chardata"`
	} `xml:"vbox:OSType"`
}

type annotation struct{ Info, Annotation string }

type hardware struct {
	Info   string
	System struct {
		ElementName string `xml:"vssd:ElementName"`
		InstanceID  int    `xml:"vssd:InstanceID"`
		Identifier  string `xml:"vssd:VirtualSystemIdentifier"`
		Type        string `xml:"vssd:VirtualSystemType"`
	}
	Items  []item   `xml:"Item"`
	Config []config `xml:"vmw:Config"`
}

// item is one device; the schema wants its elements in alphabetical order.
type item struct {
	Address         string `xml:"rasd:Address,omitempty"`
	AddressOnParent string `xml:"rasd:AddressOnParent,omitempty"`
	Units           string `xml:"rasd:AllocationUnits,omitempty"`
	Automatic       bool   `xml:"rasd:AutomaticAllocation,omitempty"`
	Connection      string `xml:"rasd:Connection,omitempty"`
	Name            string `xml:"rasd:ElementName"`
	HostResource    string `xml:"rasd:HostResource,omitempty"`
	ID              int    `xml:"rasd:InstanceID"`
	Parent          int    `xml:"rasd:Parent,omitempty"`
	SubType         string `xml:"rasd:ResourceSubType,omitempty"`
	Type            int    `xml:"rasd:ResourceType"`
	Quantity        int64  `xml:"rasd:VirtualQuantity,omitempty"`
}

type config struct {
	Required bool   `xml:"ovf:required,attr"`
	Key      string `xml:"vmw:key,attr"`
	Value    string `xml:"vmw:value,attr"`
}

// descriptor returns the OVF document for s and a disk file of the given size that holds populated bytes.
func descriptor(s Spec, size, populated int64) ([]byte, error) {
	e := envelope{Default: nsOVF, OVF: nsOVF, RASD: nsRASD, VSSD: nsVSSD, VMW: nsVMW, VBox: nsVBox}
	e.File = file{ID: fileID, Href: s.diskName(), Size: size}
	e.Disks.Info = "Virtual disks"
	e.Disks.Disk = disk{diskID, fileID, s.DiskCapacity >> 20, unitsMiB, formatVMDK, populated}
	e.Networks.Info = "Logical networks"
	e.Networks.Network.Name, e.Networks.Network.Description = networkName, "The network of the appliance"
	e.System = virtualSystem{ID: s.Name, Info: "A virtual machine", Name: s.Name, Hardware: s.hardware()}
	e.System.OS = operatingSystem{ID: osUbuntu64, VMW: osTypeVMW, Info: "The guest operating system", Description: "Ubuntu (64-bit)"}
	e.System.OS.VBox.Type = osTypeVBox
	p := &e.System.Product
	p.Info, p.Product, p.Version, p.FullVersion = "The appliance", s.Name, s.Version, s.Version
	if s.Description != "" {
		e.System.Annotation = &annotation{"What it is", s.Description}
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", "  ")
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("write OVF: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// hardware lists the devices: a SATA disk is the one that VMware, VirtualBox and Proxmox all boot from unasked.
func (s Spec) hardware() hardware {
	h := hardware{Info: "Virtual hardware"}
	h.System.ElementName, h.System.Identifier, h.System.Type = "Virtual Hardware Family", s.Name, hardwareVMX
	h.Items = []item{
		{ID: 1, Type: typeCPU, Name: fmt.Sprintf("%d virtual CPU(s)", s.CPUs), Units: "hertz * 10^6", Quantity: int64(s.CPUs)},
		{ID: 2, Type: typeMemory, Name: fmt.Sprintf("%d MiB of memory", s.MemoryMiB), Units: unitsMiB, Quantity: s.MemoryMiB},
		{ID: 3, Type: typeSATA, Name: "SATA controller", Address: "0", SubType: "vmware.sata.ahci"},
		{ID: 4, Type: typeDisk, Name: "Hard disk", AddressOnParent: "0", Parent: 3, HostResource: "ovf:/disk/" + diskID},
		{ID: 5, Type: typeEthernet, Name: "Ethernet adapter", AddressOnParent: "7", Automatic: true, Connection: networkName, SubType: "E1000"},
	}
	if s.UEFI {
		h.Config = append(h.Config, config{Key: "firmware", Value: "efi"})
	}
	if s.UEFI && s.SecureBoot {
		h.Config = append(h.Config, config{Key: "bootOptions.efiSecureBootEnabled", Value: "true"})
	}
	return h
}
