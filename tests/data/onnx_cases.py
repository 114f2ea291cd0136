"""Dumps the node tests of the `onnx` package, a grid of recurrent layers and one of extremes, for
tests/tract_gaps.rs and tests/onnx_nodes.rs.

    python3 -m venv venv
    venv/bin/pip install onnx numpy onnxruntime
    venv/bin/python onnx_cases.py FOLDER

FOLDER gets NAME.onnx for each case, its tensors as little-endian row-major files, and `cases.tsv`: name,
relative and absolute tolerance, inputs, outputs. A tensor is `TYPE:SIZES:FILE`, sizes joined by `x`.
Node tests with values of other types are in `others.tsv`: name, and the type of the first.
The recurrent layers, which numpy does not have, get the outputs of ONNX Runtime.
"""

import itertools
import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnx_grid

TYPES = {
    "float32": "f32", "float64": "f64", "float16": "f16", "bool": "bool",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}


# Operators that mean something else from an operator set on, with the same inputs and attributes.
CHANGED = {
    "AveragePool": 19, "DFT": 20, "GroupNormalization": 21, "GridSample": 20, "Resize": 19, "Pad": 19,
    "ScatterElements": 18, "ScatterND": 18, "Split": 18, "DequantizeLinear": 23, "QuantizeLinear": 23,
}


def node_tests():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        atol = onnx_grid.absolute(case.name, case.atol)
        for i, (inputs, outputs) in enumerate(case.data_sets):
            yield f"{case.name}.{i}", case.model, inputs, outputs, case.rtol, atol
            for opset in (13, 18):
                older = restamped(case.model, opset)
                if older is not None:
                    yield f"{case.name}.{i}.opset{opset}", older, inputs, outputs, case.rtol, atol


def restamped(model, opset):
    """The same graph in an older operator set, if it is valid there and each operator means the same in both."""
    if [imported.domain for imported in model.opset_import] != [""] or model.opset_import[0].version <= opset:
        return None
    newest = model.opset_import[0].version
    for node in model.graph.node:
        if node.op_type in CHANGED and opset < CHANGED[node.op_type] <= newest:
            return None
    older = onnx.ModelProto()
    older.CopyFrom(model)
    older.opset_import[0].version = opset
    older.ir_version = min(older.ir_version, 8)
    try:
        onnx.checker.check_model(older, full_check=True)
    except Exception:
        return None
    return older


def recurrent():
    import onnxruntime

    generator = np.random.default_rng(23)
    hidden, features, batch, steps = 3, 2, 2, 5
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}
    grid = itertools.product(
        gates, ["forward", "reverse", "bidirectional"], [False, True], [False, True], [False, True],
        ["default", "clip", "activations", "linear_before_reset", "input_forget", "peephole"],
    )
    for op, direction, bias, initial, lengths, extra in grid:
        if extra == "linear_before_reset" and op != "GRU" or op != "LSTM" and extra in ("input_forget", "peephole"):
            continue
        directions = 2 if direction == "bidirectional" else 1
        count = gates[op]

        def weight(*shape):
            return generator.uniform(-1, 1, shape).astype(np.float32)

        tensors = {"x": weight(steps, batch, features)}
        weights = {"w": weight(directions, count * hidden, features), "r": weight(directions, count * hidden, hidden)}
        names = ["x", "w", "r", "", "", "", "", ""]
        if bias:
            weights["b"], names[3] = weight(directions, 2 * count * hidden), "b"
        if lengths:
            weights["s"], names[4] = np.array([3, 5], np.int32), "s"
        if initial:
            tensors["h"], names[5] = weight(directions, batch, hidden), "h"
            if op == "LSTM":
                tensors["c"], names[6] = weight(directions, batch, hidden), "c"
        attributes = {"hidden_size": hidden, "direction": direction}
        if extra == "clip":
            attributes["clip"] = 0.3
        elif extra == "activations":
            others = {"RNN": ["Relu"], "GRU": ["HardSigmoid", "Relu"], "LSTM": ["HardSigmoid", "Relu", "Tanh"]}[op]
            attributes["activations"] = others * directions
        elif extra in ("linear_before_reset", "input_forget"):
            attributes[extra] = 1
        elif extra == "peephole":
            weights["p"], names[7] = weight(directions, 3 * hidden), "p"
        while not names[-1]:
            names.pop()
        outputs = ["y", "y_h"] + ["y_c"] * (op == "LSTM")
        node = helper.make_node(op, names, outputs, **attributes)
        graph = helper.make_graph(
            [node], "recurrent",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in tensors.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (4 if name == "y" else 3)) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, tensors)
        words = [op.lower(), direction, extra] + ["bias"] * bias + ["initial"] * initial + ["lengths"] * lengths
        name = "_".join(words)
        yield name, model, list(tensors.values()), expected, onnx_grid.RTOL, onnx_grid.absolute(name)


def open_sizes(cases):
    """Each case, and once more with a symbol in place of each size of its inputs: one symbol for all axes of that size.

    Those in an older operator set come once.
    """
    for name, model, inputs, outputs, rtol, atol in cases:
        yield name, model, inputs, outputs, rtol, atol
        if ".opset" in name:
            continue
        named = onnx.ModelProto()
        named.CopyFrom(model)
        weights = {tensor.name for tensor in named.graph.initializer}
        sizes = 0
        for value in named.graph.input:
            for dim in value.type.tensor_type.shape.dim if value.name not in weights else []:
                sizes += 1
                dim.dim_param = f"s{dim.dim_value}"
        if sizes:
            yield f"{name}.open", named, inputs, outputs, rtol, atol


def array(value):
    """A tensor as numpy has it, if that is a type in TYPES."""
    if isinstance(value, TensorProto) and helper.tensor_dtype_to_np_dtype(value.data_type).name in TYPES:
        if value.data_type in (TensorProto.STRING, TensorProto.BFLOAT16):
            return value
        return numpy_helper.to_array(value)
    return value


def other_kind(values):
    """The kind of the first value that is no tensor of a type in TYPES, if there is one."""
    for value in map(array, values):
        if isinstance(value, (list, dict)) or value is None:
            return "optional" if value is None else "sequence or map"
        name = onnx.helper.tensor_dtype_to_string(value.data_type)[12:].lower() if isinstance(value, TensorProto) else np.asarray(value).dtype.name
        if name not in TYPES:
            return "string" if name in ("object", "string") or name.startswith("str") else name
    return None


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rows, others = [], []
    for name, model, inputs, outputs, rtol, atol in open_sizes(itertools.chain(node_tests(), recurrent(), onnx_grid.grid())):
        def told(kind, values):
            told = []
            for i, value in enumerate(values):
                value = array(value)
                value = np.asarray(value) if not isinstance(value, (list, dict, TensorProto)) and value is not None else value
                if not isinstance(value, np.ndarray) or value.dtype.name not in TYPES:
                    return None
                file = f"{name}.{kind}{i}"
                (folder / file).write_bytes(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).tobytes())
                told.append(f"{TYPES[value.dtype.name]}:{'x'.join(map(str, value.shape))}:{file}")
            return " ".join(told)

        tensors = told("in", inputs), told("out", outputs)
        if None in tensors:
            if name.startswith("test_") and ".o" not in name:
                (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
                others.append(f"{name}\t{other_kind([*inputs, *outputs])}")
            continue
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        rows.append("\t".join([name, str(rtol), str(atol), *tensors]))
    (folder / "cases.tsv").write_text("\n".join(rows) + "\n")
    (folder / "version").write_text(onnx.__version__)
    (folder / "others.tsv").write_text("\n".join(others) + "\n")
    print(f"{len(rows)} cases")


main(pathlib.Path(sys.argv[1]))
