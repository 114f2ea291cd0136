"""Gives each of ONNX's node cases sizes of 0, and numbers at the ends of their types, on ONNX Runtime called directly.

Prints the cases that end their process, or that are not done after 20 seconds. What it found is in
`src/backend/ort/guards/needs.rs`. With `pip install onnx==1.23.2 onnxruntime==1.29.0`:

    python3 tests/portable/odd_inputs.py sizes
    python3 tests/portable/odd_inputs.py numbers
"""

import os
import resource
import signal
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.test.case.node import collect_testcases

NEWEST_OPSET, SECONDS, MEMORY = 24, 20, 8 << 30


def sizes(inputs):
    """Each axis of each input, all axes of one size, and one axis of all inputs."""
    for i, x in enumerate(inputs):
        for axis in range(x.ndim):
            empty = np.take(x, [], axis=axis)
            yield f"input {i}, axis {axis}", inputs[:i] + [empty] + inputs[i + 1 :]
    for size in {size for x in inputs for size in x.shape if size}:
        shapes = [tuple(0 if s == size else s for s in x.shape) for x in inputs]
        empty = [x if shape == x.shape else np.zeros(shape, x.dtype) for x, shape in zip(inputs, shapes)]
        yield f"all of {size}", empty
    for axis in (0, 1, 2, -1):
        has = lambda x: x.ndim > (axis if axis >= 0 else 0)
        yield f"axis {axis} of all", [np.take(x, [], axis=axis) if has(x) else x for x in inputs]


def numbers(inputs):
    """All elements of an input, and one."""
    for i, x in enumerate(inputs):
        if x.dtype.kind in "iu":
            ends = np.iinfo(x.dtype)
            values = [0, -1, 1, -5, 1000, 1 << 20, -(1 << 20), 2**31 - 1, -(2**31), ends.max, ends.min]
            values = [value for value in values if ends.min <= value <= ends.max]
        elif x.dtype.kind == "f":
            values = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -1.0]
        else:
            continue
        for value in values:
            every = np.full(x.shape, value).astype(x.dtype)
            yield f"input {i}, all {value}", inputs[:i] + [every] + inputs[i + 1 :]
            if x.size > 1:
                one = x.copy()
                one.reshape(-1)[x.size // 2] = value
                yield f"input {i}, one {value}", inputs[:i] + [one] + inputs[i + 1 :]


def run(case, variants, skip, log):
    inputs = list(case.data_sets[0][0])
    if not all(isinstance(x, np.ndarray) for x in inputs):
        return
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = min(opset.version, NEWEST_OPSET)
    model.ir_version = min(model.ir_version, 10)
    for k, (value, x) in enumerate(zip(model.graph.input, inputs)):
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        for axis in range(x.ndim):
            shape.dim.add().dim_param = f"d{k}_{axis}"
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options)
    except Exception:
        return
    names = [value.name for value in model.graph.input]
    for n, (what, changed) in enumerate(variants(inputs)):
        if n < skip:
            continue
        log.write(f"{n} {what}\n")
        log.flush()
        try:
            session.run(None, dict(zip(names, changed)))
        except Exception:
            pass


def main():
    variants = {"sizes": sizes, "numbers": numbers}[sys.argv[1]]
    ort.set_default_logger_severity(4)
    cases = collect_testcases(None)
    for case in cases:
        skip = 0
        while True:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(SECONDS)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                with os.fdopen(writer, "w") as log:
                    run(case, variants, skip, log)
                    log.flush()
                    os._exit(0)
            os.close(writer)
            lines = os.fdopen(reader).read().splitlines()
            _, status = os.waitpid(child, 0)
            if not (os.WIFSIGNALED(status) and lines):
                break
            number, what = lines[-1].split(" ", 1)
            print(case.name, signal.Signals(os.WTERMSIG(status)).name, what, flush=True)
            skip = int(number) + 1
    print(len(cases), "cases")


main()
