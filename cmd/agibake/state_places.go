package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/agibake/agibake/internal/fault"
	"github.com/agibake/agibake/internal/parts"
)

// partPlace opens a place for parts.
func (r *registryFlags) partPlace(ctx context.Context, text string) (parts.Place, error) {
	info, err := os.Stat(text)
	switch {
	case strings.HasPrefix(text, "ssh:"):
		return parts.SSH(text)
	case strings.HasPrefix(text, "oci:"):
		return nil, fault.Hint(fault.Mark(fault.Input, fmt.Errorf("%s is a place for snapshots, not for parts", text)), "name "+placeUsage)
	case err == nil && (info.IsDir() || info.Mode().IsRegular()) || !isRegistry(text):
		return parts.Folder(text), nil
	}
	repo, err := r.repository(ctx, text)
	if err != nil {
		return nil, err
	}
	tag := ""
	if last := text[strings.LastIndexByte(text, '/'):]; strings.ContainsAny(last, ":@") {
		tag = repo.Reference()
	}
	return parts.InRegistry(repo, tag), nil
}

// partPlaces opens places. lost, unless nil, is told of registries that do not answer, and goes on without them.
func (r *registryFlags) partPlaces(ctx context.Context, texts []string, lost func(error)) (list []parts.Place, err error) {
	for _, text := range texts {
		p, err := r.partPlace(ctx, text)
		switch {
		case err == nil:
			list = append(list, p)
		case lost == nil || ctx.Err() != nil || fault.KindOf(err) == fault.Input:
			return nil, err
		default:
			lost(err)
		}
	}
	return list, nil
}
