package preload

import (
	"context"
	"maps"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// record is what one transaction writes: the values of one bucket, and of one bucket right below it.
type record struct {
	path     []string
	values   map[string][]byte
	sub      string // name of the bucket below; "" is none
	inner    map[string][]byte
	sequence uint64 // of the bucket; 0 leaves it
}

// writeBolt makes a bolt file of records and returns its bytes. Every record has a transaction of its own: within
// one, bolt hands out pages in the order of a Go map, and the bytes would differ from run to run.
func writeBolt(ctx context.Context, name string, records []record) ([]byte, error) {
	db, err := bolt.Open(name, 0o600, &bolt.Options{
		PageSize: 4096, FreelistType: bolt.FreelistArrayType, NoSync: true, NoGrowSync: true,
	})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := db.Update(r.write); err != nil {
			return nil, err
		}
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

func (r record) write(tx *bolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists([]byte(r.path[0]))
	for _, part := range r.path[1:] {
		if err == nil {
			b, err = b.CreateBucketIfNotExists([]byte(part))
		}
	}
	if err != nil {
		return err
	}
	if err := putAll(b, r.values); err != nil {
		return err
	}
	if r.sub != "" {
		sub, err := b.CreateBucketIfNotExists([]byte(r.sub))
		if err != nil {
			return err
		}
		if err := putAll(sub, r.inner); err != nil {
			return err
		}
	}
	if r.sequence > 0 {
		return b.SetSequence(r.sequence)
	}
	return nil
}

func putAll(b *bolt.Bucket, values map[string][]byte) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if err := b.Put([]byte(k), values[k]); err != nil {
			return err
		}
	}
	return nil
}
