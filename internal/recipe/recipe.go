// Package recipe reads the YAML that a person writes into a typed, checked value.
package recipe

// Recipe is one appliance as its author wants it. Parse returns it complete: `extends` merged (and empty), variables
// replaced, defaults filled in, local paths absolute, every value checked. Keys are those of design, section 4.
type Recipe struct {
	APIVersion string      `yaml:"apiVersion"`
	Kind       string      `yaml:"kind"`
	Name       string      `yaml:"name"`
	Version    string      `yaml:"version"`
	Extends    string      `yaml:"extends,omitempty"`
	Base       Base        `yaml:"base"`
	Machine    Machine     `yaml:"machine"`
	Access     Access      `yaml:"access"`
	GPU        *GPU        `yaml:"gpu,omitempty"`
	Containers []Container `yaml:"containers,omitempty"`
	Models     []Model     `yaml:"models,omitempty"`
	Files      []File      `yaml:"files,omitempty"`
	Units      []Unit      `yaml:"units,omitempty"`
	Shares     []Share     `yaml:"shares,omitempty"`
	Agent      Agent       `yaml:"agent"`
	SelfTest   SelfTest    `yaml:"selftest"`
	Outputs    []string    `yaml:"outputs"`
	Sign       *Sign       `yaml:"sign,omitempty"`

	places map[string]Place // where each value stands; see Position
}

// Base names the distribution the system is made of.
type Base struct {
	Distribution    string   `yaml:"distribution"` // ubuntu | debian
	Release         string   `yaml:"release"`      // codename or suite: jammy, bookworm, testing
	Mirror          string   `yaml:"mirror,omitempty"`
	Snapshot        string   `yaml:"snapshot,omitempty"`
	Components      []string `yaml:"components,omitempty"`
	CheckValidUntil *bool    `yaml:"checkValidUntil,omitempty"` // nil means true
	Kernel          string   `yaml:"kernel,omitempty"`
	Packages        []string `yaml:"packages,omitempty"`
}

// Machine is the virtual hardware.
type Machine struct {
	CPUs       int      `yaml:"cpus"`
	Memory     Size     `yaml:"memory"`
	Disk       Size     `yaml:"disk"`
	SystemSize Size     `yaml:"systemSize"`
	Firmware   []string `yaml:"firmware"` // bios, uefi
	SecureBoot bool     `yaml:"secureBoot"`
}

// Access says who may log in.
type Access struct {
	Hostname string `yaml:"hostname"`
	Users    []User `yaml:"users,omitempty"`
}

// User is one login without a password.
type User struct {
	Name           string   `yaml:"name"`
	Sudo           bool     `yaml:"sudo,omitempty"`
	Groups         []string `yaml:"groups,omitempty"`
	Shell          string   `yaml:"shell,omitempty"`
	AuthorizedKeys []string `yaml:"authorizedKeys,omitempty"`
}

// GPU selects the NVIDIA stack.
type GPU struct {
	Driver string `yaml:"driver"`         // package branch: 580-server-open
	CUDA   string `yaml:"cuda,omitempty"` // the CUDA version that the container needs
}

// Container is one service of the appliance.
type Container struct {
	Name    string            `yaml:"name"`
	Image   Image             `yaml:"image"`
	Args    []string          `yaml:"args,omitempty"`
	Env     map[string]string `yaml:"env,omitempty"`
	Ports   []string          `yaml:"ports,omitempty"`  // [address:]host:container
	Mounts  []string          `yaml:"mounts,omitempty"` // STATE-FOLDER:/path[:ro]
	GPU     bool              `yaml:"gpu,omitempty"`
	Restart string            `yaml:"restart,omitempty"`
}

// Image says where a container image comes from; exactly one field is set.
type Image struct {
	Registry string         `yaml:"registry,omitempty"` // reference with tag or digest
	Layout   string         `yaml:"layout,omitempty"`   // OCI layout folder[:tag]
	Archive  string         `yaml:"archive,omitempty"`  // docker save archive
	Packages *ImagePackages `yaml:"packages,omitempty"` // built from a distribution's packages
}

// ImagePackages describes an image that the bake builds itself.
type ImagePackages struct {
	Distribution    string            `yaml:"distribution"`
	Release         string            `yaml:"release"`
	Mirror          string            `yaml:"mirror,omitempty"`
	Snapshot        string            `yaml:"snapshot,omitempty"`
	Components      []string          `yaml:"components,omitempty"`
	CheckValidUntil *bool             `yaml:"checkValidUntil,omitempty"` // nil means true
	Include         []string          `yaml:"include"`
	Entrypoint      []string          `yaml:"entrypoint"`
	Env             map[string]string `yaml:"env,omitempty"`
	WorkingDir      string            `yaml:"workingDir,omitempty"`
	User            string            `yaml:"user,omitempty"`
}

// Model is one weights file under models/ of the state tree.
type Model struct {
	Name   string `yaml:"name"`
	File   string `yaml:"file"`
	Source string `yaml:"source"` // https://… | file:… | oci:…
	SHA256 string `yaml:"sha256,omitempty"`
}

// File is one file of the system tree; Content or Source (a path beside the recipe) is set.
type File struct {
	Path    string `yaml:"path"`
	Content string `yaml:"content"`
	Source  string `yaml:"source,omitempty"`
	Mode    string `yaml:"mode,omitempty"`  // octal text, default "0644"
	Owner   string `yaml:"owner,omitempty"` // name[:group], default root:root
}

// Unit is one systemd unit.
type Unit struct {
	Name    string `yaml:"name"`
	Content string `yaml:"content"`
	Enable  bool   `yaml:"enable,omitempty"`
}

// Share is a folder of the host or network, mounted at boot.
type Share struct {
	Type    string `yaml:"type"` // nfs | smb | virtiofs | 9p | vboxsf | vmhgfs
	Source  string `yaml:"source"`
	Target  string `yaml:"target"`
	Options string `yaml:"options,omitempty"`
}

// Agent configures agid.
type Agent struct {
	Listen  string          `yaml:"listen"`
	Modes   map[string]Mode `yaml:"modes,omitempty"`
	Startup Startup         `yaml:"startup"`
	Logs    Logs            `yaml:"logs,omitempty"`
}

// Mode is one way of thinking: a system prompt with sampling.
type Mode struct {
	SystemPrompt string   `yaml:"systemPrompt"`
	Temperature  *float64 `yaml:"temperature,omitempty"`
}

// Startup is what the agent asks the model once it answers.
type Startup struct {
	Greeting string `yaml:"greeting,omitempty"`
}

// Logs says where traces are sent.
type Logs struct {
	Ship []map[string]string `yaml:"ship,omitempty"`
}

// SelfTest sets what the appliance proves at each boot.
type SelfTest struct {
	Timeout            string   `yaml:"timeout"` // Go duration
	MinTokensPerSecond float64  `yaml:"minTokensPerSecond,omitempty"`
	Require            []string `yaml:"require"` // an empty list is a choice
}

// Sign names the key that signs the appliance.
type Sign struct {
	Key string `yaml:"key"`
}
