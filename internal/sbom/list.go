package sbom

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agibake/agibake/internal/fault"
)

// Item is one thing that an SBOM lists.
type Item struct {
	Kind    string // deb, container, model, file, program, go; "" for what another tool wrote
	Name    string
	Version string
	License string // an SPDX expression; NOASSERTION where nobody knows
}

// List reads the items of an SPDX document in JSON. Errors are of kind fault.Input.
func List(text []byte) ([]Item, error) {
	var doc document
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.Version, "SPDX-2.") {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read SBOM: no SPDX 2 document in JSON: version %.40q, %v", doc.Version, err))
	}
	var list []Item
	for _, p := range doc.Packages {
		kind, _, _ := strings.Cut(strings.TrimPrefix(p.ID, "SPDXRef-"), "-")
		list = append(list, Item{kind, p.Name, p.Version, p.LicenseDeclared})
	}
	return list, nil
}
