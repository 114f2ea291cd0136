# Runs the two commands of the README in a container: `docker build -t accelerant .`, then
# `docker run --rm accelerant cargo xtask test`. With a GPU: `docker run --rm --gpus all accelerant`.
FROM rust:1.95-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*

# A driver that `--gpus all` brings gives what computing needs.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /accelerant
COPY . .
CMD ["cargo", "xtask", "demo"]
