// Package artifact makes and reads what agibake keeps in OCI form (image-spec v1.1): images, disks, the appliance index
// that binds them, its referrers, and the layout on disk that holds them. docs/formats.md describes each byte.
package artifact

import (
	_ "crypto/sha256" // for go-digest
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agibake/agibake/internal/fault"
)

// Types of the parts of an appliance.
const (
	TypeAppliance = "application/vnd.agibake.appliance.v1+json"        // artifactType of the index
	TypeConfig    = "application/vnd.agibake.appliance.config.v1+json" // Config
	TypeRecipe    = "application/vnd.agibake.recipe.v1+yaml"
	TypeLock      = "application/vnd.agibake.lock.v1+yaml"
	TypeSPDX      = "application/spdx+json"
	TypeInToto    = "application/vnd.in-toto+json"
	TypeInputs    = "application/vnd.agibake.inputs.v1+json" // the pinned inputs of a lock
	TypeInput     = "application/vnd.agibake.input.v1"       // one of them, or a part of it
	typeDisk      = "application/vnd.agibake.disk.v1."       // and the format
)

// Annotations beside those of the image-spec.
const (
	AnnotationLock          = "org.agibake.lock"        // lock digest, hex
	AnnotationDiskSHA256    = "org.agibake.disk.sha256" // of the whole file, hex
	AnnotationDiskSize      = "org.agibake.disk.size"   // of the whole file, bytes in decimal
	AnnotationInput         = "org.agibake.input"       // what an input is, for a person
	AnnotationPredicateType = "in-toto.io/predicate-type"
)

// MaxBlob is the most bytes that a blob may have (design, section 8).
const MaxBlob = 4 << 30

// PartSize is where we cut, in bytes: small enough that parts keep several connections and cores busy to the end.
const PartSize = 1 << 30

// TypeDisk is the type of a disk of a format such as "qcow2", and of the blobs that it consists of.
func TypeDisk(format string) string { return typeDisk + format }

// Hex returns the 64 hexadecimal digits of d. Anything but a well-formed SHA-256 digest is an error, so that the
// result is safe as a file name. Its kind is fault.Untrusted.
func Hex(d digest.Digest) (string, error) {
	err := d.Validate()
	if err == nil && d.Algorithm() != digest.SHA256 {
		err = digest.ErrDigestUnsupported
	}
	if err != nil {
		return "", fault.Mark(fault.Untrusted, fmt.Errorf("%.80q is not a sha256 digest: %w", string(d), err))
	}
	return d.Encoded(), nil
}

// TagOf is the tag that stands for what belongs to a manifest (distribution-spec, "Referrers Tag Schema"), with a suffix
// such as cosign's ".sig".
func TagOf(d digest.Digest, suffix string) string {
	return d.Algorithm().String() + "-" + d.Encoded() + suffix
}

// Time is the date of an image, from seconds since 1970.
func Time(epoch int64) *time.Time {
	t := time.Unix(epoch, 0).UTC()
	return &t
}

// Encode marshals an index, manifest or config and describes the result.
func Encode(mediaType string, value any) ([]byte, v1.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, v1.Descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	return data, v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, nil
}
