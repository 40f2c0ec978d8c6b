# Two commands do everything: `make demo` and `make test`.
GO      ?= go
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)
export GOFLAGS := -trimpath -buildvcs=false
SUDO    := $(if $(filter-out 0,$(shell id -u)),sudo)
DEMO    := out/demo-1.0.0
GODIRS  := cloud-init cmd firmware internal recipes testdata

.PHONY: all build demo test lint referees e2e bench tools schema clean

all: build

build: ## bin/agibake and bin/agid
	CGO_ENABLED=0 $(GO) build -ldflags "-s -w" -o bin/agid ./cmd/agid
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/agibake ./cmd/agibake

demo: tools ## bake recipes/demo.yaml, boot it, ask the model inside
	bin/agibake bake recipes/demo.yaml -o out
	bin/agibake boot $(DEMO)

tools: build ## install the host programs that are missing
	@missing=$$(bin/agibake doctor --packages); command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; fi
	@setup=$$(bin/agibake doctor --setup); if [ -n "$$setup" ]; then echo "$$setup" | $(SUDO) sh -ex; fi

test: tools lint ## everything that needs neither a long boot nor a download; what is concurrent with the race detector
	@concurrent=$$(grep -rlE --include='*.go' --exclude='*_test.go' 'go func|\.Go\(|sync[.](Mutex|RWMutex|Pool|Map)|sync/atomic' internal | xargs -n1 dirname | sort -u | sed 's|^|./|'); \
	others=$$($(GO) list -f '{{.Dir}}' ./... ./testdata/model/... | grep -vxF "$$(echo "$$concurrent" | sed "s|^\.|$(CURDIR)|")"); \
	set -x; $(GO) test -race $$concurrent && $(GO) test $$others

lint:
	@bad=$$(gofmt -l $(GODIRS)); test -z "$$bad" || { echo "run gofmt -w on:"; echo "$$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

referees: ## build the foreign programs that judge our artifacts in tests: cosign, crane, oras
	cd testdata/referees && GOBIN=$(CURDIR)/bin/referees $(GO) install tool

e2e: tools ## real bakes and boots, from the archives
	AGIBAKE_E2E=1 $(GO) test -count=1 -timeout 40m -p 2 -run '^TestE2E' \
		$$(grep -rl --include='*_test.go' 'referee\.E2E(' cmd internal | xargs -n1 dirname | sort -u | sed 's|^|./|')

bench: tools referees ## measure against other builders and write docs/benchmarks.md
	PATH=$(CURDIR)/bin/referees:$$PATH AGIBAKE_BENCH=docs/benchmarks.md $(GO) test -run TestBench -count=1 -timeout 120m -v ./cmd/agibake

schema: build ## regenerate what is generated
	bin/agibake schema > recipes/schema.json

clean:
	rm -rf bin out
