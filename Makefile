# Gantry. On a fresh Debian machine with Go: `make demo` shows the main job,
# `make test` passes all tests. Both install what they need (root, or sudo).
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

B        := build
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
GOBUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
COMMANDS := $(notdir $(wildcard cmd/*))
SOURCES  := $(shell git ls-files '*.go' '*.proto' '*.json' '*.html' '*.css' '*.js' go.mod go.sum 2>/dev/null)

# What building, demo and tests need of Debian; `deps` installs what is missing.
PACKAGES := qemu-system-x86 qemu-utils qemu-block-extra ovmf ipxe ipxe-qemu iproute2 iputils-ping nftables openssh-client \
	mmdebstrap gdisk mtools dosfstools e2fsprogs xfsprogs mdadm lvm2 grub2-common grub-common grub-pc-bin grub-efi-amd64-bin \
	busybox-static dropbear-bin cpio zstd xz-utils kmod binutils \
	protobuf-compiler snmp snmpd snmpsim kea-dhcp4-server kea-admin isc-dhcp-client udhcpc \
	dnsmasq-base tftpd-hpa tftp-hpa curl util-linux procps bsdextrautils nginx-light fio bmap-tools tcpdump

.PHONY: help deps build images demo demo-down check test test-full bench soak clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

deps: ## install the Debian packages that are missing
	@missing=""; for p in $(PACKAGES); do \
	  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || missing="$$missing $$p"; done; \
	ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 && [ -z "$$missing" ] && exit 0; \
	echo "deps: installing$${missing:- package lists}"; \
	$(SUDO) apt-get update -qq; [ -z "$$missing" ] || \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >$(or $(TMPDIR),/tmp)/gantry-deps.log 2>&1 || \
	  { tail -20 $(or $(TMPDIR),/tmp)/gantry-deps.log >&2; exit 1; }

build: deps $(B)/.commands $(B)/netboot/.done $(B)/images/mini.raw ## build the programs, what machines boot, and the test image

$(B)/.commands: $(SOURCES)
	@mkdir -p $(B)/bin
	@for c in $(COMMANDS); do echo "build $$c"; $(GOBUILD) -o $(B)/bin/$$c ./cmd/$$c; done
	@cd $(B)/bin && sha256sum gantry-driver-* >SHA256SUMS
	@touch $@

$(B)/netboot/.done: $(B)/.commands $(wildcard netboot/build/*.go netboot/build/*/*.go netboot/build/*.sh netboot/build/stub/*) pxe/httpboot/localdisk.sh
	@echo "build netboot"; mkdir -p $(B)/netboot/loaders
	@go run ./netboot/build/mkinitrd -out $(B)/netboot -agent $(B)/bin/gantry-netboot
	@cp /usr/lib/ipxe/undionly.kpxe /usr/lib/ipxe/snponly.efi /usr/lib/ipxe/ipxe.efi $(B)/netboot/loaders/
	@sh pxe/httpboot/localdisk.sh $(B)/netboot/loaders/localdisk.efi
	@touch $@

RECIPES := $(wildcard images/recipe/*.sh images/recipe/*/*)
$(B)/images/mini.raw: $(RECIPES)
	@echo "build image mini"; mkdir -p $(B)/images; $(SUDO) images/recipe/build.sh mini $@ >$(B)/images/mini.log 2>&1 || { tail -20 $(B)/images/mini.log >&2; exit 1; }

$(B)/images/debian-12.raw: $(RECIPES)
	@echo "build image debian-12 (Debian 12 from its packages; some minutes)"; mkdir -p $(B)/images
	@$(SUDO) images/recipe/build.sh full $@ >$(B)/images/debian-12.log 2>&1 || { tail -20 $(B)/images/debian-12.log >&2; exit 1; }

images: deps $(B)/images/mini.raw $(B)/images/debian-12.raw ## build both images

demo: build $(B)/images/debian-12.raw ## a pod on this machine: rack, inspect, deploy Debian 12, log in, restart, release
	@$(SUDO) lab/demo.sh

demo-down: ## end the demo and leave nothing behind
	@$(SUDO) lab/demo.sh down

check: deps ## the fast loop: format, vet, staticcheck, generated files, layout
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt would change: $$bad" >&2; exit 1; }
	@go vet -tags qemu ./...
	@go tool staticcheck -tags qemu ./...
	@plugins/proto/generate.sh --check
	@go test -count=1 .

# Tests need root: namespaces, packet sockets, block devices. Unit tests run
# side by side; those with QEMU one package at a time, as each fills the machine.
QEMU_PACKAGES = $(shell git grep -lE '^//go:build qemu' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')
test: build check ## all tests
	@$(SUDO) env PATH="$$PATH" go test -race -timeout 20m ./...
	@$(SUDO) env PATH="$$PATH" go test -tags qemu -p 1 -timeout 40m $(QEMU_PACKAGES)

test-full: images ## the Debian image under BIOS and UEFI to its SSH server
	@$(SUDO) env PATH="$$PATH" go test -tags 'qemu fullimage' -run TestFullBoots -timeout 60m ./images/recipe

bench: build $(B)/images/debian-12.raw ## measure beside the field's programs; ONLY=name for one
	@$(SUDO) env PATH="$$PATH" ONLY="$(ONLY)" lab/bench/all.sh

soak: build ## random faults on 20 machines' worth of pod; SEEDS=n
	@$(SUDO) env PATH="$$PATH" go run ./lab/soak -machines 20 -events 250 -seeds $(or $(SEEDS),20)

clean: demo-down ## remove what was built
	@$(SUDO) rm -rf $(B)
