package epoch

import "testing"

func TestUUID(t *testing.T) {
	// printf 'seed\0system' | sha256sum, with the version and variant bits set by hand
	if got := String(UUID("seed", "system")); got != want {
		t.Errorf("UUID = %s, want %s", got, want)
	}
	if UUID("seed", "system") == UUID("seed", "state") || UUID("seed", "system") == UUID("other", "system") {
		t.Error("different purposes or seeds share a UUID")
	}
}

const want = "3e7bc754-5376-835f-a4bd-876af28ed5ff"
