// Package artifact makes OCI images and image layouts (OCI image-spec v1.1) from layers on disk.
package artifact

import (
	_ "crypto/sha256" // for go-digest
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Hex returns the 64 hexadecimal digits of d. Anything but a well-formed SHA-256 digest is an error, so that the
// result is safe as a file name.
func Hex(d digest.Digest) (string, error) {
	err := d.Validate()
	if err == nil && d.Algorithm() != digest.SHA256 {
		err = digest.ErrDigestUnsupported
	}
	if err != nil {
		return "", fmt.Errorf("%.80q is not a sha256 digest: %w", string(d), err)
	}
	return d.Encoded(), nil
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
