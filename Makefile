# Everything a fresh Debian machine with a Rust toolchain needs: each target installs what it uses.

CARGO ?= cargo
DEMO := target/demo
PROGRAMS := target/debug

.PHONY: help demo test test-double test-gpu soak bench setup clients format clean test-infra test-functions test-images \
  test-firebase test-browser test-peers test-witness

help:
	@echo "make demo    export six clips of a generated video on this machine"
	@echo "make test    formatting, lints, all tests, the console in Chromium"
	@echo "make test-double   the chains of a GPU, on a driver that is a double"
	@echo "make test-gpu      a real NVIDIA GPU: pictures, speed, bit rates, as a table; fails where there is none (SOURCES=files of yours)"
	@echo "make test-infra    Terraform, images and release scripts, without account or engine: valid, and equal to what the programs say"
	@echo "make test-functions   the Cloud Functions of deploy/functions under the Functions Framework, against a fleet"
	@echo "make test-images   the images of docker/, built by buildah on Debian's packages, and their stack (root; after make test and test-infra)"
	@echo "make test-firebase   the unmodified Firebase web SDK in Chromium, against the emulator and a fleet"
	@echo "make test-browser  the console in Chromium and its client, against a fleet"
	@echo "make test-peers    our emulator beside Google's, call by call, and a fleet on those; says where they are missing"
	@echo "make test-witness  what Chromium records, and what it shows, against what a fleet exports of it"
	@echo "make soak    what takes an hour: damaged files, very long and very large clips, more source kinds, chaos"
	@echo "make bench   the figures of the README"

# System packages, only when something is missing.
setup:
	@deploy/setup.sh

# Google's clients for Python and Node, which the conformance tests drive the emulator with.
clients: setup
	@tests/conformance/clients/install.sh

# The development build compiles in a third of the time and exports as fast: the media work is in C libraries.
demo: setup
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
	@deploy/demo-source.sh $(DEMO)/source.mp4
	$(PROGRAMS)/clipfleet export $(DEMO)/source.mp4 --data $(DEMO)/data --out demo-output --quality 1080p \
	  --clip intro=0-20 --clip overlap=10-40 --clip typical=30-75 --clip mid=70.5-85.25 --clip late=90-110 --clip end=100-125.5

# Programs and tests are built by one command, so that both share one set of dependencies and tests can start the programs.
test: setup clients
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace --no-fail-fast
	$(MAKE) test-browser CLIPFLEET_PROGRAMS=$(CURDIR)/$(PROGRAMS)

# The plugin for GPUs of GStreamer 1.28, in a root of its own, on a driver of ours: see tests/double/README.md.
test-double:
	@deploy/setup.sh libffmpeg-nvenc-dev
	tests/double/root.sh
	$(MAKE) -C tests/double/driver
	tests/double/smoke.sh
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace --test double -- --ignored

# On a machine with an NVIDIA GPU and GStreamer 1.28: see deploy/gpu.md. Optimised, since it compares pictures pixel by pixel.
test-gpu: setup
	$(CARGO) build --release --workspace --bins
	target/release/clipfleet-pipeline --test-gpu $(SOURCES)

# Takes programs that are built already (make test and make demo do), or CLIPFLEET=PROGRAM.
test-infra: setup
	@tests/infra/run.sh

# CLIPFLEET_PROGRAMS names a folder of built programs; without it they are built.
test-functions: clients
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
endif
	deploy/functions/test/run.sh

# Takes the programs that make test built, and the validators that make test-infra installed.
test-images:
	@deploy/setup.sh buildah mmdebstrap
	@tests/images/run.sh

# CLIPFLEET_PROGRAMS as above; CHROMIUM names another browser than Debian's.
test-firebase: clients
	@deploy/setup.sh chromium
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --workspace --bins
endif
	tests/firebase/run.sh

# CLIPFLEET_PROGRAMS as above.
test-browser: clients
	@deploy/setup.sh chromium fonts-dejavu-core
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
endif
	tests/browser/run.sh

# CLIPFLEET_PROGRAMS as above. The emulators are Google's packages, which make setup does not install.
test-peers: clients
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --workspace --bins
endif
	tests/peers/run.sh

# CLIPFLEET_PROGRAMS as above; CLIPFLEET_WITNESS=long records every type that the browser grants, with every sound;
# CLIPFLEET_WITNESS_ONLY=REGEX tries sources of these names alone.
test-witness: clients
	@deploy/setup.sh chromium fonts-dejavu-core
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
endif
	tests/witness/run.sh

soak: setup
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace --test soak --test media --test oracle --test fleet --test simulation -- --ignored --nocapture --test-threads=1
	$(MAKE) test-witness CLIPFLEET_WITNESS=long CLIPFLEET_PROGRAMS=$(CURDIR)/$(PROGRAMS)

bench: setup
	$(CARGO) build --release --workspace --bins --bench figures
	$(CARGO) bench --workspace --bench figures

format:
	$(CARGO) fmt --all

clean:
	rm -rf $(DEMO) demo-output .clipfleet
