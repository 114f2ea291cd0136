#!/usr/bin/env python3
"""Kernels and times of single matrix products, with TensorRT-RTX: which kernel a shape gets.

    CUDA_LAUNCH_BLOCKING=1 products.py f32|f16 PRODUCT…

A product is BATCHxROWSxINPUTSxOUTPUTS, perhaps followed by these, each after a +:
    bias      with a bias
    gelu      and Gelu
    inputs    both factors are inputs; otherwise the right one is a weight, one for each of the batch, and the left one is of all
    flat      the right factor is written as inputs by outputs, instead of the other way round
    conv      as a convolution over one pixel, of batch 1

Behind it is a product with 64 outputs, the last kernel, since what an output waits for is not fused. One line of JSON a
product: its kernels with their times in µs, one after the other. Needs numpy, onnx, torch and the Python package
tensorrt-rtx.
"""

import argparse
import json
import re

import numpy as np
import torch
from forms import Graph, Loaded, Warnings, build

FOLLOWING = 64


def product(text, dtype):
    """The model, and its tensors on the GPU by name with the result in fp64 as `want`."""
    sizes, *options = text.split("+")
    batch, rows, inputs, outputs = map(int, sizes.split("x"))
    if not set(options) <= {"bias", "gelu", "inputs", "flat", "conv"}:
        raise argparse.ArgumentTypeError(f"`{text}` has parts other than bias, gelu, inputs, flat and conv")
    graph, kind = Graph(), torch.float32 if dtype == np.float32 else torch.float16
    generator = torch.Generator(device="cuda").manual_seed(3)

    def random(*shape):
        values = torch.randn(*shape, device="cuda", generator=generator) * shape[-1] ** -0.5
        return values.to(kind)

    both = "inputs" in options
    right, bias, last = random(batch, outputs, inputs), random(batch, 1, outputs), random(batch, FOLLOWING, outputs)
    tensors = {"x": random(batch if both else 1, rows, inputs)}
    if both:
        tensors["w"] = right
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    want = tensors["x"].double() @ right.double().transpose(1, 2)
    if "conv" in options:
        x = graph.op("Transpose", graph.op("Reshape", "x", [1, 32, rows // 32, inputs]), perm=[0, 3, 1, 2])
        y = graph.op("Conv", x, right.cpu().numpy().reshape(outputs, inputs, 1, 1), bias.cpu().numpy().reshape(-1))
        want = want + bias.double()
    else:
        if "flat" in options:
            factor = right.transpose(1, 2).cpu().numpy()
        else:
            factor = graph.op("Transpose", "w" if both else right.cpu().numpy(), perm=[0, 2, 1])
        y = graph.op("MatMul", "x", factor)
        if "bias" in options:
            y, want = graph.op("Add", y, bias.cpu().numpy()), want + bias.double()
    if "gelu" in options:
        y, want = graph.op("Gelu", y), torch.nn.functional.gelu(want)
    if "conv" in options:
        y = graph.op("Reshape", graph.op("Transpose", y, perm=[0, 2, 3, 1]), [1, rows, outputs])
    y = graph.op("MatMul", y, graph.op("Transpose", last.cpu().numpy(), perm=[0, 2, 1]))
    want = want @ last.double().transpose(1, 2)
    tensors["y"] = torch.empty(batch, rows, FOLLOWING, device="cuda", dtype=kind)
    return graph.model(dtype, shapes, y, [batch, rows, FOLLOWING]), tensors, want


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dtype", choices=["f32", "f16"])
    arguments.add_argument("products", nargs="+")
    given = arguments.parse_args()
    logger = Warnings()
    for text in given.products:
        model, tensors, want = product(text, np.float32 if given.dtype == "f32" else np.float16)
        loaded = Loaded(build(model, logger), tensors, logger)
        row = {"product": text, "dtype": given.dtype, "deviation": loaded.deviation(want)}
        kernels = [[re.sub(r"^cudnn_generated_fort_native_|_0x[0-9a-f]{32}$", "", k), t] for k, t in loaded.kernels()]
        print(json.dumps(row | {"µs": round(sum(t for _, t in kernels), 1), "kernels": kernels}), flush=True)


if __name__ == "__main__":
    main()
