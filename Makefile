# Everything a person or a CI job does with this repository.
#
#   make         builds ./docker-slim
#   make demo    the walkthrough, from nothing: without any engine, and with Docker where it is there
#   make test    formatting, clippy, unit, property and end-to-end tests
#   make corpus  every sample at every exercise and keep level, checked plain and under its profile
#   make qemu    what needs another kernel: AppArmor enforced, cgroup v2 alone, without root; a skip is a failure
#   make fuzz    FUZZ_SECONDS (600) of each fuzz target
#   make bench   throughput under observation against untouched; whole builds against by hand; registries against skopeo and
#                umoci; bytes stored with preserved layers against flat ones

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
CARGO ?= cargo
# rustup finds its toolchain below HOME: with another HOME it is looked for in the account's own.
ifneq ($(shell $(CARGO) --version >/dev/null 2>&1 && echo found),found)
export RUSTUP_HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)/.rustup
endif
TARGET := x86_64-unknown-linux-gnu
RELEASE := target/$(TARGET)/release/docker-slim

.PHONY: all build prepare demo test corpus qemu fuzz lint bench clean

all: build

build: docker-slim

prepare:
	@scripts/prepare-machine
	@scripts/start-docker

# Cargo knows best whether there is anything to build.
docker-slim: FORCE
	@scripts/prepare-machine --build-only
	$(CARGO) build --release --locked -p docker-slim
	@cmp -s $(RELEASE) $@ || cp -f $(RELEASE) $@

.PHONY: FORCE
FORCE:

demo:
	@scripts/demo

test:
	@scripts/test

lint:
	$(CARGO) fmt --all --check
	rustfmt --check --config-path rustfmt.toml --edition 2024 crates/slim-launch/launch/main.rs
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

corpus: prepare docker-slim
	@scripts/corpus

qemu: docker-slim
	@scripts/prepare-machine --qemu
	@scripts/start-docker
	@scripts/sample-image redis nginx go python node torture
	@scripts/test-qemu

fuzz:
	@scripts/prepare-machine --qemu
	@scripts/fuzz

bench: prepare docker-slim
	@scripts/sample-image node python nginx redis shell
	@benches/throughput
	@benches/build
	@benches/registry
	@benches/layers

clean:
	$(CARGO) clean
	rm -f docker-slim
