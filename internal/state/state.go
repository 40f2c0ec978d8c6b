// Package state keeps the tree that an appliance's life writes (models, settings, memory, traces) as snapshots: OCI
// artifacts whose parts are shared by all snapshots that hold the same bytes. docs/state.md describes each byte.
package state

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Types of what a snapshot consists of. What is sealed has "+age" behind its type.
const (
	TypeState    = "application/vnd.agibake.state.v1+json" // artifactType of the index and of its own manifest
	TypeInfo     = "application/vnd.agibake.state.info.v1+json"
	TypeTree     = "application/vnd.agibake.state.tree.v1+zstd"
	TypeContents = "application/vnd.agibake.state.contents.v1+zstd"
	TypePack     = "application/vnd.agibake.state.pack.v1.tar+zstd"
	TypePiece    = "application/vnd.agibake.state.piece.v1"
	TypeKey      = "application/vnd.agibake.state.key.v1" // with +age, +passphrase or +gpg behind it
	sealed       = "+age"
)

// Types of the CNCF model-spec, in which weights are kept that are not sealed.
const (
	TypeModel        = "application/vnd.cncf.model.manifest.v1+json"
	TypeModelConfig  = "application/vnd.cncf.model.config.v1+json"
	TypeWeight       = "application/vnd.cncf.model.weight.v1.raw"
	TypeWeightConfig = "application/vnd.cncf.model.weight.config.v1.raw"
	TypeModelDoc     = "application/vnd.cncf.model.doc.v1.raw"
	annotationFile   = "org.cncf.model.filepath"
)

// Annotations of the index and its parts.
const (
	AnnotationTree   = "org.agibake.state.tree"   // digest of the tree, hex; not of what is sealed
	AnnotationParent = "org.agibake.state.parent" // digest of the snapshot that was captured before
	AnnotationSealed = "org.agibake.state.sealed" // "true"
	annotationOffset = "org.agibake.state.offset" // of a piece in its file, bytes
)

const (
	LargePiece = 32 << 20 // bytes: a piece of a model has at most these
	maxPackRaw = 64 << 20 // bytes of pieces in a pack
	modelsDir  = "models"
)

// Info is what a snapshot says of itself.
type Info struct {
	Name    string        `json:"name,omitempty"`
	Created time.Time     `json:"created"`
	Note    string        `json:"note,omitempty"`
	Parent  digest.Digest `json:"parent,omitempty"`
	Tree    string        `json:"tree"` // SHA-256 of the tree document, hex: equal for equal states
	Files   int           `json:"files"`
	Bytes   int64         `json:"bytes"`   // of files
	Records int64         `json:"records"` // lines of .jsonl files
	Exclude []string      `json:"exclude,omitempty"`
	Version string        `json:"agibake,omitempty"` // that captured it
	Live    *Live         `json:"live,omitempty"`
	Needs   *Needs        `json:"needs,omitempty"` // nil if it is not known
}

// Live says how a state was captured that was in use.
type Live struct {
	FrozenMS  int64            `json:"frozenMilliseconds"`
	Paused    []string         `json:"paused,omitempty"`    // containers and processes
	Databases []string         `json:"databases,omitempty"` // copied by their own means
	Torn      map[string]int64 `json:"torn,omitempty"`      // bytes behind the last whole line that were left out, by path
}
