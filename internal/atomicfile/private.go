package atomicfile

// CreatePrivate is Create for a file that only its owner may read, from the first moment on.
func CreatePrivate(path string) (*File, error) { return create(path, 0o600) }
