package recipe

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Size is a number of bytes, written with a binary suffix: 512MiB, 16GiB.
type Size int64

var sizePattern = regexp.MustCompile(`^([0-9]+) ?(KiB|MiB|GiB|TiB)?$`)

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// ParseSize reads a whole number of bytes with an optional suffix KiB, MiB, GiB or TiB.
func ParseSize(s string) (Size, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("parse size %q: not a size such as 512MiB or 16GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	for _, u := range sizeUnits {
		if err == nil && u.name == m[2] && n <= math.MaxInt64/u.bytes {
			return Size(n * u.bytes), nil
		}
	}
	return 0, fmt.Errorf("parse size %q: too large", s)
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0"
}

// MarshalYAML writes the size as String does.
func (s Size) MarshalYAML() (any, error) {
	if s%1024 != 0 {
		return int64(s), nil
	}
	return s.String(), nil
}

// UnmarshalYAML reads what ParseSize reads.
func (s *Size) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	v, err := ParseSize(text)
	if err == nil {
		*s = v
	}
	return err
}
