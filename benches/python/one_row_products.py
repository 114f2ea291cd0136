#!/usr/bin/env python3
"""Layers of Llama-3.2-1B's shape without attention, in fp16, for one row, with their four products in one form:

    one_row_products.py LAYERS FOLDER FORM…
    accelerant bench --cuda-graph --warmup 300 --iterations 300 FOLDER/FORM.onnx

Forms:
    gemm, matmul      Gemm with the weight as [out, in], MatMul with [in, out]
    splitN            MatMul in N batches of outputs
    repeatN, zerosN   Gemm over N rows: copies of the row, or zeros behind the row
    conv1, conv8      a convolution over one pixel, or over eight
    sum16, sum32      ReduceSum(weight * row) over [out, in] in fp32, with the products in fp16 or fp32
    half              as sum16, summed in fp16
    twoN              as sum16, summed in N parts first
    columnsN          as twoN, with the weight as [N, in / N, out]

Needs numpy and onnx.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN, JOINED, INNER = 2048, 3072, 8192


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []
        self.random = np.random.default_rng(1)

    def op(self, kind, *inputs, **attributes):
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def ints(self, *values):
        return self.constant(np.array(values, dtype=np.int64))

    def part(self, x, start, end, axis=1):
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def product(self, x, out, inputs, form):
        """[1, inputs] by a weight of [out, inputs]."""
        weight = (self.random.standard_normal((out, inputs), dtype=np.float32) * inputs**-0.5).astype(np.float16)
        name = form.rstrip("0123456789")
        count = int(form[len(name) :] or 0)
        if name in ("gemm", "repeat", "zeros"):
            if name == "repeat":
                x = self.op("Expand", x, self.ints(count, inputs))
            if name == "zeros":
                x = self.op("Pad", x, self.ints(0, 0, count - 1, 0))
            y = self.op("Gemm", x, self.constant(weight), transB=1)
            return y if count == 0 else self.part(y, 0, 1, axis=0)
        if name == "matmul":
            return self.op("MatMul", x, self.constant(np.ascontiguousarray(weight.T)))
        if name == "split":
            factor = self.constant(weight.reshape(count, out // count, inputs))
            x = self.op("Reshape", x, self.ints(1, 1, inputs))
            y = self.op("MatMul", x, self.op("Transpose", factor, perm=[0, 2, 1]))
            return self.op("Reshape", y, self.ints(1, out))
        if name == "conv":
            x = self.op("Reshape", x, self.ints(1, inputs // count, 1, count))
            y = self.op("Conv", x, self.constant(weight.reshape(out, inputs // count, 1, count)))
            return self.op("Reshape", y, self.ints(1, out))
        if name in ("sum", "half"):
            factor = self.constant(weight)
            if form == "sum32":
                factor, x = (self.op("Cast", value, to=TensorProto.FLOAT) for value in (factor, x))
            y = self.op("Mul", factor, x)
            if form == "sum16":
                y = self.op("Cast", y, to=TensorProto.FLOAT)
            y = self.op("ReduceSum", y, self.ints(1), keepdims=0)
            y = self.op("Unsqueeze", y, self.ints(0))
            return y if form == "half" else self.op("Cast", y, to=TensorProto.FLOAT16)
        if name in ("two", "columns"):
            part = inputs // count
            if name == "two":
                factor, sizes, axes = weight.reshape(out, count, part), (1, count, part), (2, 1)
            else:
                factor, sizes, axes = weight.T.reshape(count, part, out), (count, part, 1), (1, 0)
            y = self.op("Mul", self.constant(np.ascontiguousarray(factor)), self.op("Reshape", x, self.ints(*sizes)))
            y = self.op("Cast", y, to=TensorProto.FLOAT)
            for axis in axes:
                y = self.op("ReduceSum", y, self.ints(axis), keepdims=0)
            return self.op("Cast", self.op("Unsqueeze", y, self.ints(0)), to=TensorProto.FLOAT16)
        raise SystemExit(f"the form {form} is not known")

    def layer(self, x, form):
        queries = self.part(self.product(x, JOINED, HIDDEN, form), 0, HIDDEN)
        x = self.op("Add", x, self.product(self.op("Tanh", queries), HIDDEN, HIDDEN, form))
        both = self.product(self.op("Tanh", x), 2 * INNER, HIDDEN, form)
        gate, up = self.part(both, 0, INNER), self.part(both, INNER, 2 * INNER)
        gate = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.op("Add", x, self.product(self.op("Mul", gate, up), HIDDEN, INNER, form))


def main():
    layers, folder, *forms = sys.argv[1:]
    for form in forms:
        graph, x = Graph(), "x"
        for _ in range(int(layers)):
            x = graph.layer(x, form)
        row = [TensorProto.FLOAT16, [1, HIDDEN]]
        graph = helper.make_graph(
            graph.nodes, form, [helper.make_tensor_value_info("x", *row)], [helper.make_tensor_value_info(x, *row)], graph.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, f"{folder}/{form}.onnx")


if __name__ == "__main__":
    main()
