# Gantry. On a fresh Debian machine with Go: `make demo` shows the main job,
# `make test` passes all tests. Both install what they need (root, or sudo).
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# mke2fs, nft, kea-dhcp4 and their like are where a user's PATH does not lead.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

B        := build
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
GOBUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
COMMANDS := $(notdir $(wildcard cmd/*))
# Also files that git does not know yet, but not those that are gone.
SOURCES  := $(wildcard $(shell git ls-files -co --exclude-standard '*.go' '*.proto' '*.json' '*.html' '*.css' '*.js' go.mod go.sum 2>/dev/null))
TAGS     := qemu fullimage

# What building and the demo need of Debian, and what tests and measurements need
# beside that. `deps` installs what is missing and starts no server of it.
DEMO_PACKAGES := qemu-system-x86 ovmf ipxe ipxe-qemu iproute2 nftables openssh-client \
	mmdebstrap gdisk mtools dosfstools e2fsprogs xfsprogs mdadm lvm2 grub2-common grub-common grub-pc-bin grub-efi-amd64-bin \
	busybox-static dropbear-bin cpio zstd xz-utils kmod util-linux procps
TEST_PACKAGES := gcc libc6-dev binutils qemu-utils qemu-block-extra iputils-ping \
	protobuf-compiler snmp snmpd snmpsim kea-dhcp4-server kea-admin isc-dhcp-client udhcpc \
	dnsmasq-base tftpd-hpa tftp-hpa curl bsdextrautils nginx-light fio bmap-tools tcpdump

.PHONY: help deps deps-demo build images demo demo-down check test test-full bench soak install clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

deps: deps-demo ## install the Debian packages that are missing
	@.ci/deps.sh $(TEST_PACKAGES)

deps-demo: ## install those of them that `make build` and `make demo` need
	@.ci/deps.sh $(DEMO_PACKAGES)

build: deps-demo $(B)/.commands $(B)/netboot/.done $(B)/images/mini.raw ## build the programs, what machines boot, and the test image

$(B)/.commands: $(SOURCES) | deps-demo
	@mkdir -p $(B)/bin
	@for c in $(COMMANDS); do echo "build $$c"; $(GOBUILD) -o $(B)/bin/$$c ./cmd/$$c; done
	@cd $(B)/bin && sha256sum gantry-driver-* >SHA256SUMS
	@touch $@

# The kernel is Debian's as it was when this was built: `make clean` takes a newer one.
$(B)/netboot/.done: $(B)/.commands $(wildcard netboot/build/*.go netboot/build/*/*.go netboot/build/*.sh netboot/build/stub/*) pxe/httpboot/localdisk.sh | deps-demo $(B)/cache
	@echo "build netboot"; mkdir -p $(B)/netboot/loaders
	@go run ./netboot/build/mkinitrd -out $(B)/netboot -agent $(B)/bin/gantry-netboot
	@cp /usr/lib/ipxe/undionly.kpxe /usr/lib/ipxe/snponly.efi /usr/lib/ipxe/ipxe.efi $(B)/netboot/loaders/
	@sh pxe/httpboot/localdisk.sh $(B)/netboot/loaders/localdisk.efi
	@touch $@

# Made by whoever calls make, before a recipe fills it as root.
$(B)/cache:
	@mkdir -p $@

RECIPES := $(wildcard images/recipe/*.sh images/recipe/*/*)
$(B)/images/mini.raw: $(RECIPES) | deps-demo $(B)/cache
	@echo "build image mini"; mkdir -p $(B)/images; $(SUDO) images/recipe/build.sh mini $@ >$(B)/images/mini.log 2>&1 || { tail -20 $(B)/images/mini.log >&2; exit 1; }

$(B)/images/debian-12.raw: $(RECIPES) | deps-demo $(B)/cache
	@echo "build image debian-12 (Debian 12 from its packages; some minutes)"; mkdir -p $(B)/images
	@$(SUDO) images/recipe/build.sh full $@ >$(B)/images/debian-12.log 2>&1 || { tail -20 $(B)/images/debian-12.log >&2; exit 1; }

$(B)/images/rootfs.tar: $(RECIPES) | deps-demo $(B)/cache
	@echo "build image rootfs (for tests; Debian from its packages)"; mkdir -p $(B)/images
	@$(SUDO) images/recipe/build.sh rootfs $@ >$(B)/images/rootfs.log 2>&1 || { tail -20 $(B)/images/rootfs.log >&2; exit 1; }

images: deps-demo $(B)/images/mini.raw $(B)/images/debian-12.raw ## build both images

demo: build $(B)/images/debian-12.raw ## a pod on this machine: rack, inspect, deploy Debian 12, log in, restart, release
	@$(SUDO) lab/demo.sh

demo-down: ## end the demo and leave nothing behind
	@$(SUDO) lab/demo.sh down

check: deps ## the fast loop: format, vet, staticcheck, generated files, layout
	@bad=$$(gofmt -l $(filter %.go,$(SOURCES))); [ -z "$$bad" ] || { echo "gofmt would change: $$bad" >&2; exit 1; }
	@go vet -tags '$(TAGS)' ./...
	@go tool staticcheck -tags '$(TAGS)' ./...
	@plugins/proto/generate.sh --check
	@go test -count=1 .

# Tests need root: namespaces, packet sockets, block devices. Unit tests run
# side by side; those with QEMU one package at a time, as each fills the machine.
QEMU_PACKAGES = $(shell git grep -lE '^//go:build qemu' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')
test: deps build $(B)/images/debian-12.raw $(B)/images/rootfs.tar check ## all tests
	@$(SUDO) env PATH="$$PATH" go test -race -timeout 20m ./...
	@$(SUDO) env PATH="$$PATH" go test -tags qemu -p 1 -timeout 40m $(QEMU_PACKAGES)

test-full: deps build $(B)/images/debian-12.raw ## Debian 12 deployed to a BIOS and a UEFI machine, and looked at from within
	@$(SUDO) env PATH="$$PATH" go test -tags 'qemu fullimage' -run TestDebian -timeout 60m ./lab/e2e

bench: deps build $(B)/images/debian-12.raw ## measure beside the field's programs; ONLY=name for one
	@$(SUDO) env PATH="$$PATH" ONLY="$(ONLY)" lab/bench/all.sh

soak: build ## random faults on 20 machines' worth of pod; SEEDS=n
	@$(SUDO) env PATH="$$PATH" go run ./lab/soak -machines 20 -events 250 -seeds $(or $(SEEDS),20)

# Packagers set DESTDIR; with a PREFIX of your own the paths in the example and in
# the unit follow it.
PREFIX ?= /usr
INSTALL := install -D -m
install: build ## install on this machine, or below DESTDIR=; PREFIX= instead of /usr
	@for c in gantry gantry-appliance; do $(INSTALL) 755 $(B)/bin/$$c $(DESTDIR)$(PREFIX)/bin/$$c; done
	@for f in $(B)/bin/gantry-driver-*; do $(INSTALL) 755 $$f $(DESTDIR)$(PREFIX)/lib/gantry/drivers/$${f##*/}; done
	@$(INSTALL) 644 $(B)/bin/SHA256SUMS $(DESTDIR)$(PREFIX)/lib/gantry/drivers/SHA256SUMS
	@for f in vmlinuz vmlinuz-bios initrd.img loaders/undionly.kpxe loaders/snponly.efi loaders/ipxe.efi loaders/localdisk.efi; do \
	  $(INSTALL) 644 $(B)/netboot/$$f $(DESTDIR)$(PREFIX)/lib/gantry/netboot/$$f; done
	@mkdir -p $(DESTDIR)/etc/gantry $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	@{ cat appliance/example.yaml; printf '\n# Where "make install" put them.\ndrivers:\n  dir: %s\n  # user: gantry-driver   # made by: adduser --system --group gantry-driver\nnetboot:\n  dir: %s\n  loaders: %s\n' \
	  $(PREFIX)/lib/gantry/drivers $(PREFIX)/lib/gantry/netboot $(PREFIX)/lib/gantry/netboot/loaders; } >$(DESTDIR)/etc/gantry/appliance.yaml.example
	@sed 's,/usr/bin/,$(PREFIX)/bin/,' appliance/gantry-appliance.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/gantry-appliance.service
	@$(B)/bin/gantry completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/gantry

clean: ## remove what was built, after taking down the labs whose files are there
	@for r in $$($(SUDO) grep -lsF '"state_dir": "$(CURDIR)/$(B)/' /run/gantry-lab/*/lab.json); do \
	  n=$${r%/lab.json}; $(SUDO) $(B)/bin/gantry lab down --name $${n##*/}; done
	@$(SUDO) rm -rf $(B)
