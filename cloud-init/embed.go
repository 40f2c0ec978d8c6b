// Package cloudinit holds the seed templates: what cloud-init is told at bake time, and the files of a NoCloud seed.
package cloudinit

import _ "embed"

// Config is /etc/cloud/cloud.cfg.d/95-agibake.cfg. It reads no data source but those of the design, and leaves alone
// what the bake or the agent already did.
//
//go:embed agibake.cfg.tmpl
var Config string

// Identify is /etc/cloud/ds-identify.cfg: with no seed in sight cloud-init does not run at all.
//
//go:embed ds-identify.cfg
var Identify string

// MetaData, UserData and NetworkConfig are the files of a NoCloud seed.
var (
	//go:embed meta-data.tmpl
	MetaData string
	//go:embed user-data.tmpl
	UserData string
	//go:embed network-config.tmpl
	NetworkConfig string
)
