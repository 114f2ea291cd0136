#!/usr/bin/env bash
# Compiles what run.sh runs and packs it: pack.sh FOLDER [candle] [cudnn] [burn] [burn-eager]
# Needs the CUDA toolkit (`cargo xtask cuda-toolkit` prints the environment of one), the SDK of TensorRT-RTX
# (`cargo xtask sdk`) in TENSORRT_RTX_ROOT, and xz. For Burn see docs/burn-cuda-offline.md. cudnn is linked
# against libcudnn.so, in a folder of LIBRARY_PATH.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
shift
target=${CARGO_TARGET_DIR:-$here/target}
mkdir -p "$folder"

pack() { # PROGRAM NAME
  cp "$1" "$folder/$2"
  strip "$folder/$2"
  xz --force --x86 --lzma2=preset=9e "$folder/$2"
}

"${CXX:-g++}" -std=c++17 -O2 -static-libstdc++ -static-libgcc -isystem "$TENSORRT_RTX_ROOT/include" \
  -isystem "${CUDA_HOME:-/usr/local/cuda}/include" "$here/../cpp/raw_loop.cpp" -o "$folder/raw_loop" -ldl
pack "$folder/raw_loop" raw_loop.tmp && mv "$folder/raw_loop.tmp.xz" "$folder/raw_loop.xz" && rm "$folder/raw_loop"
for framework in "${@:-candle}"; do
  # A folder each: Burn may want flags of its own, which would compile the other anew.
  built=${framework/cudnn/candle}
  built=$target/${built/burn-eager/burn}
  cargo build --release --manifest-path "$here/Cargo.toml" --features "$framework" --target-dir "$built"
  pack "$built/release/accelerant-compare" "compare-$framework"
done
cp "$here/run.sh" "$here/../python/torch_models.py" "$folder/"
du -ch "$folder"/* | tail -n 1
