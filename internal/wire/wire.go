// Package wire holds the messages that host and appliance exchange: the agent's configuration, written at bake time,
// and the self-test document, read by the host.
package wire

import "time"

// Paths and names that both sides know.
const (
	StateRoot    = "/var/lib/agi-core"       // mount point of the state partition
	ConfigPath   = "/etc/agibake/agent.json" // Config
	PortName     = "org.agibake.selftest"    // virtio-serial port; carries Message lines
	StateLabel   = "agi-state"               // label of the state file system
	SystemLabel  = "agi-system"              // label of the system file system
	VerdictMark  = "AGI-SELFTEST"            // begins the console line with the verdict
	ModelService = "agi-model.service"
)

// StateFolders are the folders of the state tree (design, section 1).
var StateFolders = []string{"models", "docker", "boot", "logs", "memory"}

// Config tells the agent what this appliance is.
type Config struct {
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	LockDigest string          `json:"lockDigest"`
	Epoch      int64           `json:"epoch"`               // the bake's clock, seconds since 1970: no appliance's clock is before it
	StateUUID  string          `json:"stateUUID,omitempty"` // of the state file system
	Listen     string          `json:"listen"`
	ModelURL   string          `json:"modelURL"` // base URL of the model server, e.g. http://127.0.0.1:8081; "" = no model
	Containers []string        `json:"containers"`
	Models     []string        `json:"models"` // files under models/
	GPU        bool            `json:"gpu"`
	CUDA       string          `json:"cuda,omitempty"` // the version that the containers need, e.g. 12.4
	Greeting   string          `json:"greeting"`
	Modes      map[string]Mode `json:"modes,omitempty"`
	SelfTest   SelfTestConfig  `json:"selftest"`
}

// Mode is one system prompt with sampling.
type Mode struct {
	SystemPrompt string   `json:"systemPrompt"`
	Temperature  *float64 `json:"temperature,omitempty"`
}

// SelfTestConfig sets what must hold.
type SelfTestConfig struct {
	TimeoutSeconds     int      `json:"timeoutSeconds"`
	MinTokensPerSecond float64  `json:"minTokensPerSecond"`
	Require            []string `json:"require"` // checks that must pass; the others only warn
}

// Status is the outcome of one check.
type Status string

// The outcomes. A check that could not apply here (no GPU wanted) is skipped.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	Warn Status = "warn"
	Skip Status = "skip"
)

// Check is one line of the self-test.
type Check struct {
	Name    string  `json:"name"` // state, clock, docker, container, model, speed, gpu, web, identity, space, units
	Status  Status  `json:"status"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Verdict is the self-test's document: one line of logs/selftest.jsonl and one Message on the port.
type Verdict struct {
	Schema     string    `json:"schema"` // "agibake/selftest/v1"
	Pass       bool      `json:"pass"`
	Time       time.Time `json:"time"`
	Uptime     float64   `json:"uptimeSeconds"` // since the kernel started
	Appliance  string    `json:"appliance"`
	Version    string    `json:"version"`
	LockDigest string    `json:"lockDigest"`
	BootID     string    `json:"bootID"`
	MachineID  string    `json:"machineID"`
	Firmware   string    `json:"firmware"` // bios | uefi | secureboot
	Question   string    `json:"question,omitempty"`
	Answer     string    `json:"answer,omitempty"`
	Tokens     int       `json:"tokens,omitempty"`
	Rate       float64   `json:"tokensPerSecond,omitempty"`
	Checks     []Check   `json:"checks"`
}

// VerdictSchema is the Schema of a Verdict.
const VerdictSchema = "agibake/selftest/v1"

// Message is one JSON line on the virtio-serial port, from the appliance to the host.
type Message struct {
	Type    string   `json:"type"` // "progress" or "verdict"
	Text    string   `json:"text,omitempty"`
	Verdict *Verdict `json:"verdict,omitempty"`
}
