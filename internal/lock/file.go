package lock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"gopkg.in/yaml.v3"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/recipe"
)

// limit is the size that a lock file may have: 32 MiB, several times that of a desktop's packages.
const limit = 32 << 20

const header = `# Made by "agibake lock": every input of the recipe beside it, pinned by address, size and SHA-256.
# Keep it with the recipe. "agibake lock --update" renews it; sources without a scheme are relative to this folder.
`

// Read reads and checks a lock file. Its errors have kind fault.Input; that of a missing file is fs.ErrNotExist too.
func Read(path string) (*Lock, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Mark(fault.Input, fmt.Errorf("read lock: %w", err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read lock %s: %w", path, err)
	}
	l, err := Parse(data)
	if err != nil {
		err = fmt.Errorf("read lock %s: %w", path, err)
		return nil, fault.Hint(fault.Mark(fault.Input, err), "agibake lock --update writes a new one")
	}
	return l, nil
}

// Parse reads and checks the content of a lock file. Unknown keys are errors.
func Parse(data []byte) (*Lock, error) {
	if len(data) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	l := &Lock{}
	if err := d.Decode(l); err != nil {
		return nil, err
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// Marshal returns the canonical content of the lock file: equal locks give equal bytes.
func Marshal(l *Lock) ([]byte, error) {
	var root yaml.Node
	if err := root.Encode(l); err != nil {
		return nil, fmt.Errorf("write lock: %w", err)
	}
	oneLine(&root)
	var b bytes.Buffer
	b.WriteString(header)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return nil, fmt.Errorf("write lock: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return b.Bytes(), nil
}

// oneLine puts each package and blob on a line of its own, so that a version control system shows what changed.
func oneLine(n *yaml.Node) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			switch key := n.Content[i-1].Value; key {
			case "recipe":
				continue
			case "packages", "layers":
				for _, item := range c.Content {
					if c.Kind == yaml.SequenceNode && item.Kind == yaml.MappingNode {
						item.Style = yaml.FlowStyle
					}
				}
			}
		}
		oneLine(c)
	}
}

// Digest is the SHA-256 of the canonical content, in hex, apart from the paths of local sources and the secrets in
// addresses: the same inputs in another folder are the same lock. What a bake derives (UUIDs, hash seeds) comes from it. It is "" for a lock that
// cannot be written.
func Digest(l *Lock) string {
	b, err := Marshal(anywhere(l))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// WithRecipe returns l with another recipe, one that l answers. The pinned inputs are shared.
func WithRecipe(l *Lock, r *recipe.Recipe) *Lock {
	n := *l
	n.Recipe = *r
	return &n
}
