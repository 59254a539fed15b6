# For a new Debian machine with a Rust toolchain: each target installs what it uses.

CARGO ?= cargo
DEMO := target/demo
PROGRAMS := target/debug

.PHONY: help demo test audit test-double test-gpu soak bench setup clients format clean test-infra test-functions \
  test-images test-firebase screenshot test-browser test-peers test-witness package test-package

help:
	@echo "make demo            export six clips of a generated video on this machine"
	@echo "make test            formatting, lints, all tests, the console in Chromium"
	@echo "make audit           dependencies: unused ones, licences and registries"
	@echo "make test-double     the GPU routes, on a test double of the driver"
	@echo "make test-gpu        acceptance test of a real NVIDIA GPU; fails without one (SOURCES=your own files)"
	@echo "make test-infra      Terraform, images and release scripts, without an account or engine"
	@echo "make test-functions  the Cloud Functions of deploy/functions in the Functions Framework, against a fleet"
	@echo "make test-images     the images of docker/, built with buildah, and their stack (root; after make test-infra)"
	@echo "make package         a Debian package of a release build, in target/package (PROFILE=dev: of the debug build)"
	@echo "make test-package    the package, installed, used and removed in a bare Debian root (root; after make package)"
	@echo "make test-firebase   the unmodified Firebase web SDK in Chromium, against the emulator and a fleet"
	@echo "make test-browser    the console in Chromium and its client, against a fleet"
	@echo "make test-peers      our emulator compared with Google's, call by call, a fleet and the security rules on Google's"
	@echo "make test-witness    recordings of Chromium, and how it plays them, compared with what a fleet exports"
	@echo "make screenshot      the pictures of README.md, made anew"
	@echo "make soak            tests that take an hour: damaged files, very long and large clips, more kinds of sources"
	@echo "make bench           the benchmarks"

# System packages, if any is missing.
setup:
	@deploy/setup.sh

# Google's clients for Python and Node, which the conformance tests run against the emulator.
clients: setup
	@tests/conformance/clients/install.sh

# The development build compiles in a third of the time and exports at the same speed, because C libraries do the media
# work.
demo: setup
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
	@deploy/demo-source.sh $(DEMO)/source.mp4
	$(PROGRAMS)/clipfleet export $(DEMO)/source.mp4 --data $(DEMO)/data --out demo-output --force --quality 1080p \
	  --clip intro=0-6 --clip overlap=4-10 --clip typical=10-20 --clip mid=15.5-20.25 --clip late=24-30 --clip end=27-33.5

# Programs and tests are built together, so that they share dependencies and the tests can start the programs.
test: setup clients
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace --no-fail-fast
	$(MAKE) test-browser CLIPFLEET_PROGRAMS=$(CURDIR)/$(PROGRAMS)

# Unoptimized, because they compile for longer than they run. Known vulnerabilities are in a database on GitHub, which a
# machine without internet cannot read: `target/tools/bin/cargo-deny check advisories`.
audit: setup
	CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --locked --debug --quiet --root target/tools cargo-machete@0.9.2
	CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --locked --debug --quiet --root target/tools --no-default-features cargo-deny@0.20.2
	target/tools/bin/cargo-machete crates tests
	target/tools/bin/cargo-deny --locked check bans licenses sources

# The GPU plugin of GStreamer 1.28, in its own root, on a test double of the driver: see tests/double/README.md.
test-double:
	@deploy/setup.sh libffmpeg-nvenc-dev
	tests/double/root.sh
	$(MAKE) -C tests/double/driver
	tests/double/smoke.sh
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace --test double -- --ignored

# Needs an NVIDIA GPU and GStreamer 1.28: see deploy/gpu.md. A release build, because it compares frames pixel by pixel.
test-gpu: setup
	$(CARGO) build --release --workspace --bins
	target/release/clipfleet-pipeline --test-gpu $(SOURCES)

# Uses the programs that make test or make demo built, or CLIPFLEET=PROGRAM.
test-infra: setup
	@tests/infra/run.sh

# CLIPFLEET_PROGRAMS names a directory of built programs. Without it they are built.
test-functions: clients
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
endif
	deploy/functions/test/run.sh

# Uses the programs that make test built, and the validators that make test-infra installed.
test-images:
	@deploy/setup.sh buildah mmdebstrap
	@tests/images/run.sh

# PROFILE=dev packages the programs of make test, for a test of the package without a release build.
package: setup
	@deploy/setup.sh dpkg-dev
ifeq ($(PROFILE),dev)
	$(CARGO) build --locked --workspace --bins --tests
	deploy/package.sh $(PROGRAMS)
else
	$(CARGO) build --release --locked --workspace --bins
	deploy/package.sh target/release
endif

# Says that it was skipped where it cannot run.
test-package:
	@[ "$$(id -u)" != 0 ] || deploy/setup.sh mmdebstrap curl lintian
	@tests/package/run.sh

# CLIPFLEET_PROGRAMS as above. CHROMIUM names a browser other than Debian's.
test-firebase: clients
	@deploy/setup.sh chromium
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --workspace --bins
endif
	tests/firebase/run.sh

# The pictures of README.md, anew. CLIPFLEET_PROGRAMS as above.
screenshot: clients
	@deploy/setup.sh chromium fonts-dejavu-core
	tests/browser/screenshot.sh

# CLIPFLEET_PROGRAMS as above.
test-browser: clients
	@deploy/setup.sh chromium fonts-dejavu-core
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --bin clipfleet --bin clipfleet-pipeline
endif
	tests/browser/run.sh

# CLIPFLEET_PROGRAMS as above. Google's emulators must be installed; make setup does not install them.
test-peers: clients
ifndef CLIPFLEET_PROGRAMS
	$(CARGO) build --workspace --bins
endif
	tests/peers/run.sh

# CLIPFLEET_PROGRAMS as above. CLIPFLEET_WITNESS=long records every type that the browser supports, with every kind of
# audio. CLIPFLEET_WITNESS_ONLY=REGEX runs only the sources whose names match.
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
