// Package recipes holds the ready recipes and the schema that editors check them by.
package recipes

import "embed"

// Files are the recipes and schema.json.
//
//go:embed *.yaml schema.json
var Files embed.FS

// Names of the files that `agibake init` writes: the recipe to start from, what it extends, and the schema.
const (
	Start  = "appliance.yaml"
	Base   = "ubuntu-base.yaml"
	Schema = "schema.json"
)
