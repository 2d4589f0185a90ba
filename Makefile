# The commands of this repository; `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
MODULES := . sdk/go/authsdk examples e2e bench
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ENGINES := $(GO) run ./internal/foundation/db/dbtest/withengines --
export CGO_ENABLED ?= 0

.PHONY: help
help: ## List these commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/authd
	@[ -x bin/authd ] || echo "building bin/authd (the first time takes a few minutes)"
	@$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/authd ./cmd/authd

.PHONY: run
run: build ## Build authd and serve on http://localhost:8000, ready to use
	@exec ./bin/authd serve

.PHONY: demo
demo: build ## Walk the whole story with authd and two services, in plain words
	@$(GO) run ./e2e/demo -authd bin/authd

# Everything but deploy/, whose checks need large tools that a newcomer does not.
PACKAGES = $$($(GO) list ./... | grep -v '/deploy$$') ./sdk/go/authsdk/... ./examples/...

.PHONY: tools
tools:
	@cd tools && GOWORK=off CGO_ENABLED=0 $(GO) build -o ../bin/ honnef.co/go/tools/cmd/staticcheck github.com/rhysd/actionlint/cmd/actionlint ./deploycheck

.PHONY: test
test: ## Run the tests on SQLite and on PostgreSQL + Redis (started or installed as needed)
	@$(ENGINES) $(GO) test $(PACKAGES)

.PHONY: lint
lint: tools ## Format, vet, staticcheck
	@files=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [ -n "$$files" ]; then echo "not formatted (gofmt -w):"; echo "$$files"; exit 1; fi
	@for m in $(MODULES); do (cd $$m && $(GO) vet ./... && $(CURDIR)/bin/staticcheck ./...); done
	@cd tools && export GOWORK=off && $(GO) vet ./... && ../bin/staticcheck ./...

.PHONY: check
check: lint test ## Format, vet, staticcheck, generated files, make test, deploy files
	@$(GO) test ./deploy

.PHONY: race
race: ## make test under the race detector, on PostgreSQL
	@CGO_ENABLED=1 AUTHD_TEST_SQLITE=off $(ENGINES) $(GO) test -race $(PACKAGES)

.PHONY: e2e
e2e: build ## The real binary on both engines, from outside
	@AUTHD_BINARY=$(CURDIR)/bin/authd $(ENGINES) $(GO) test -count=1 ./e2e/...

.PHONY: soak
soak: build ## The long fault runs, full size; by hand, an hour or more
	@AUTHD_BINARY=$(CURDIR)/bin/authd AUTHD_SOAK=1 $(ENGINES) $(GO) test -count=1 -timeout 3h -v ./e2e/... ./internal/core/risk

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME (20s) each
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' internal cmd sdk/go/authsdk | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9_]+' $$p/*_test.go | sed 's/func //'); do \
	    echo "$$p $$f"; $(GO) test ./$$p -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s || exit 1; done; done

.PHONY: bench bench-gate
bench: build ## Ceilings and our figures in one run
	@cd bench && $(GO) run . -authd ../bin/authd

bench-gate: build ## Fail where a figure has lost against bench/results.json
	@cd bench && $(GO) run . -authd ../bin/authd -gate

.PHONY: dist
dist: ## Build the archives of a release and their checksums into dist/
	@deploy/dist.sh $(VERSION)

.PHONY: gen
gen: ## Write the generated files: openapi.yaml, .env-sample, docs/reference
	@$(GO) test ./internal/config ./internal/transport/httpapi -run Generated -update
