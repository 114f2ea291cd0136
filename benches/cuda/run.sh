#!/usr/bin/env bash
# Runs a part of the comparison on a machine with an NVIDIA GPU, from the folder that pack.sh made.
#   run.sh candle|cudnn|burn-f32|burn-f16|torch|endurance|check|all
# TensorRT-RTX's libraries are taken from TENSORRT_RTX_ROOT/lib, or from where a bundle's run.sh unpacks
# them. Writes PART.jsonl, for `cargo xtask compare`, and PART.log into ${OUT:-.}. SECONDS_LEFT (540) is
# the time after which a part starts no further measurement.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${OUT:-.}")
seconds=${SECONDS_LEFT:-540}
export TENSORRT_RTX_ROOT=${TENSORRT_RTX_ROOT:-${ACCELERANT_BUNDLE_DIR:-${TMPDIR:-/tmp}/accelerant-bundle-$(id -u)}/sdk}
export CUDA_PATH=${CUDA_PATH:-/usr/local/cuda}
export LD_LIBRARY_PATH=$TENSORRT_RTX_ROOT/lib:$CUDA_PATH/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# measure PART PROGRAM [ARGS…]: a part may be measured by several programs, one after the other. What one
# of them cannot do is in the log, and no reason to stop.
measure() {
  local part=$1
  shift
  echo "== $*" >>"$out/$part.log"
  "$@" >>"$out/$part.jsonl" 2>>"$out/$part.log" || echo "run.sh: $* ended with $?" | tee -a "$out/$part.log" >&2
}

unpacked() {
  local name=$1
  [ -x "$here/$name" ] || xz -dc "$here/$name.xz" >"$here/$name" || python3 - "$here/$name" <<'PYTHON'
import lzma, sys
open(sys.argv[1], "wb").write(lzma.open(sys.argv[1] + ".xz").read())
PYTHON
  chmod +x "$here/$name"
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader || true
  python3 -c 'import torch; print("PyTorch", torch.__version__)' || true
}

candle() {
  unpacked compare-candle
  unpacked raw_loop
  local run=("$here/compare-candle" --framework candle --runtime-cache "$scratch/candle.cache")
  local raw=(--raw-loop "$here/raw_loop")
  measure candle "${run[@]}" models "${raw[@]}" --models digits resnet50 bert-base --seconds $((seconds * 6 / 10))
  measure candle "${run[@]}" models "${raw[@]}" --models minilm vit-b16 --batches 1 8 --seconds $((seconds * 4 / 10))
}

# Candle with its convolutions by cuDNN, which must be found as libcudnn.so.9.
cudnn() {
  unpacked compare-cudnn
  measure cudnn "$here/compare-cudnn" --framework candle models --who native --models resnet50 bert-base digits \
    --seconds $((seconds * 6 / 10))
}

burn() {
  unpacked compare-burn
  unpacked raw_loop
  local dtype=$1 run=("$here/compare-burn" --framework burn --runtime-cache "$scratch/burn.cache")
  measure "burn-$dtype" "${run[@]}" models --dtypes "$dtype" --models digits resnet50 bert-base \
    --who accelerated raw --raw-loop "$here/raw_loop" --seconds $((seconds * 3 / 10))
  # Burn tunes itself at every new shape, for minutes, and keeps what it found in target/ of this folder.
  # What matters most comes first.
  cd "$scratch" && touch Cargo.toml
  measure "burn-$dtype" "${run[@]}" models --dtypes "$dtype" --models digits bert-base --batches 1 8 --who native \
    --iterations 200 --seconds $((seconds * 3 / 10))
  measure "burn-$dtype" timeout $((seconds * 5 / 10)) "${run[@]}" models --dtypes "$dtype" --models resnet50 \
    --batches 1 8 --who native --iterations 200 --seconds $((seconds * 2 / 10))
}

torch() {
  local run=(python3 "$here/torch_models.py")
  measure torch "${run[@]}" --modes torch-eager --seconds $((seconds * 3 / 10))
  measure torch "${run[@]}" --modes torch-compile --models resnet50 bert-base --dtypes f16 f32 --batches 1 8 32 \
    --seconds $((seconds * 6 / 10))
}

endurance() {
  unpacked compare-candle
  local run=("$here/compare-candle" --framework candle) model
  for model in digits resnet50 bert-base; do
    local start=("${run[@]}" --runtime-cache "$scratch/$model.cache" start --model "$model" --engine "$scratch/$model.engine")
    measure endurance "${start[@]}"
    measure endurance "${start[@]}"
    rm -f "$scratch/$model.engine"
    measure endurance "${run[@]}" start --model "$model"
  done
  measure endurance "${run[@]}" --runtime-cache "$scratch/threads.cache" threads
  if [ "$(nvidia-smi --list-gpus | wc -l)" -gt 1 ]; then
    measure endurance "${run[@]}" --runtime-cache "$scratch/threads.cache" threads --devices 0 1
  fi
  measure endurance "${run[@]}" forwards
  measure endurance "${run[@]}" forwards --graph
  measure endurance "${run[@]}" --runtime-cache "$scratch/cycles.cache" cycles --seconds $((seconds / 2))
}

# Not a measurement: results on Burn's tensors in all ways, and of Burn without fusion where that was packed.
check() {
  local name
  for name in compare-burn compare-burn-eager; do
    [ -e "$here/$name.xz" ] || [ -x "$here/$name" ] || continue
    unpacked "$name"
    "$here/$name" --framework burn check 2>&1 | tee -a "$out/check.log"
  done
}

mkdir -p "$out"
machine | tee "$out/machine.txt"
case ${1:-} in
candle | cudnn | torch | endurance | check) "$1" ;;
burn-f32) burn f32 ;;
burn-f16) burn f16 ;;
all)
  check
  candle
  cudnn
  torch
  endurance
  burn f32
  burn f16
  ;;
*)
  echo "run.sh candle|cudnn|burn-f32|burn-f16|torch|endurance|check|all" >&2
  exit 2
  ;;
esac
shopt -s nullglob
measured=("$out"/*.jsonl)
[ ${#measured[@]} -eq 0 ] || tail -n +1 "${measured[@]}"
