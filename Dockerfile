# One image for the whole fleet: docker build -t sluicegate .
# Each container runs one worker: docker run … sluicegate run masker -c /etc/sluicegate/config/worker.yaml
# This file is not built by `make test`, which needs no container engine.

# The image's own toolchain: rust-toolchain.toml is left out of the context.
FROM rust:1.95-bookworm AS build
# librdkafka is compiled by its own configure (no cmake) and links the system's OpenSSL.
# The base image fixes Debian's release, whose packages get security fixes only: no versions of their own here.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libssl-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The context has no repository: docker build --build-arg SLUICE_COMMIT=$(git rev-parse --short=12 HEAD) …
ARG SLUICE_COMMIT=""
RUN cargo build --release --locked -p sluice -p sluice-demo

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 sluice \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sluice
COPY --from=build /build/target/release/sluice /build/target/release/sluice-demo /usr/local/bin/
COPY schemas /usr/share/sluicegate/schemas
# One month of flights: what `sluice-demo` fills the demo's table with and serves.
COPY tests/data/flights.csv.gz tests/data/planes.csv.gz /usr/share/sluicegate/demo/
USER 65532:65532
# `sluice` is process 1 and takes SIGTERM itself: no init in between, and the default instance name
# (host name and process id) stays the same over restarts of a pod.
ENTRYPOINT ["sluice"]
CMD ["--help"]
