#!/usr/bin/env python3
"""Times a ResNet-50 whose convolutions are written in different forms, with TensorRT-RTX.

Weights are random, norms are folded into the convolutions. Times are those of benches/cpp/raw_loop.cpp, over CUDA
graphs whose kernels wait. One line of JSON a form goes to stdout.

    resnet_forms.py FORM,FORM… f32|f16 BATCH… [--check] [--kernels] [--raw-loop PATH]

A form is one of these for each stage, joined by dots:
    c     convolutions
    n     those of one pixel as products over [channels, pixels]
    m     those of one pixel as products over [pixels, channels], with transpositions around the others
    u     all as products over [pixels, channels], that of 3 × 3 as the sum of nine, one for each of its places;
          pictures are made wider, so that 64 divides their pixels
    s     as u, and products over more than 1024 channels in four parts, which are summed
    gIJ   convolutions, those of 3 × 3 in I groups of their inputs, which are summed, and those that make a
          block's inputs narrow in J
    gIJa  the same, and the last of a stage's first block with the shortcut's as one over the inputs of both
and behind a hyphen what is done about the first one, which has three channels:
    4     a fourth channel of zeros
    8     five of them
    d     squares of 2 × 2 as channels, and a convolution of 4 × 4
    e     the same with a fourth channel of zeros, so that 16 bytes of fp16 divide the channels
and behind another one p for a GlobalAveragePool as the mean, q for that and a convolution as the last layer.

Needs numpy, onnx, the Python package tensorrt-rtx, and torch for --check, which compares with fp64.
"""

import argparse
import json
import re
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from forms import Graph, Loaded, Warnings, build, timed

STAGES = (3, 4, 6, 3)


def grid(batch, size):
    """The smallest rows and columns, of at least `size`, of which 64 divides the pixels of a batch."""
    sizes = [(h, w) for h in range(size, 2 * size + 1) for w in range(size, 2 * size + 1)]
    return min((hw for hw in sizes if batch * hw[0] * hw[1] % 64 == 0), key=lambda hw: hw[0] * hw[1])


class Network(Graph):
    """One ResNet-50 for one batch size and one form."""

    def __init__(self, dtype, batch, form):
        super().__init__()
        self.dtype, self.batch = dtype, batch
        stages, _, form = form.partition("-")
        self.first, _, self.last = form.partition("-")
        self.form = stages.split(".")
        rng = np.random.default_rng(1)

        def conv(inputs, outputs, kernel, scale=1.0):
            # He et al., "Delving Deep into Rectifiers", 2015.
            deviation = scale * (2 / (inputs * kernel * kernel)) ** 0.5
            weight = rng.standard_normal((outputs, inputs, kernel, kernel), dtype=np.float32) * deviation
            bias = rng.standard_normal(outputs, dtype=np.float32) * 0.1
            return weight.astype(dtype), bias.astype(dtype)

        self.stem, self.blocks, inputs = conv(3, 64, 7), [], 64
        for stage, count in enumerate(STAGES):
            width = 64 << stage
            for block in range(count):
                first = block == 0
                self.blocks.append({
                    "stage": stage,
                    "stride": 2 if first and stage > 0 else 1,
                    "convs": [conv(inputs, width, 1), conv(width, width, 3), conv(width, width * 4, 1, 0.25)],
                    "shortcut": conv(inputs, width * 4, 1) if first else None,
                })
                inputs = width * 4
        self.head = (conv(2048, 1000, 1)[0][:, :, 0, 0], np.zeros(1000, dtype))

    def conv(self, x, layer, stride=1):
        kernel = layer[0].shape[-1]
        pads = [kernel // 2] * 4
        return self.op("Conv", x, *layer, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def grouped(self, x, layer, stride, groups, size):
        """A convolution to `size`² pixels as the sum of those over parts of its inputs."""
        if groups == 1:
            return self.conv(x, layer, stride)
        weight, bias = layer
        outputs, inputs, kernel = weight.shape[:3]
        weight = weight.reshape(outputs, groups, inputs // groups, kernel, kernel).transpose(1, 0, 2, 3, 4)
        weight = weight.reshape(groups * outputs, inputs // groups, kernel, kernel)
        pads = [kernel // 2] * 4
        y = self.op("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)
        y = self.op("ReduceSum", self.op("Reshape", y, [self.batch, groups, outputs, size, size]), [1], keepdims=0)
        return self.op("Add", y, bias[:, None, None])

    def start(self):
        """The first convolution, 7 × 7 over three channels, two pixels apart."""
        weight, bias = self.stem
        if self.first in ("d", "e"):
            more = int(self.first == "e")
            colours = 3 + more
            x = self.op("Pad", "x", [0, 0, 3, 3, 0, more, 3, 3])
            x = self.op("Reshape", x, [self.batch, colours, 115, 2, 115, 2])
            x = self.op("Reshape", self.op("Transpose", x, perm=[0, 1, 3, 5, 2, 4]), [self.batch, 4 * colours, 115, 115])
            weight = np.pad(weight, [(0, 0), (0, more), (0, 1), (0, 1)]).reshape(64, colours, 4, 2, 4, 2)
            weight = weight.transpose(0, 1, 3, 5, 2, 4).reshape(64, 4 * colours, 4, 4)
            return self.op("Conv", x, weight, bias, kernel_shape=[4, 4])
        if self.first:
            more = int(self.first) - 3
            x = self.op("Pad", "x", [0, 0, 0, 0, 0, more, 0, 0])
            return self.conv(x, (np.pad(weight, [(0, 0), (0, more), (0, 0), (0, 0)]), bias), 2)
        return self.conv("x", self.stem, 2)

    def relu(self, x):
        return self.op("Relu", x)

    def turned(self, x, channels_last):
        return self.op("Transpose", x, perm=[0, 2, 3, 1] if channels_last else [0, 3, 1, 2])

    def slice(self, x, starts, ends, steps=None):
        axes = [1, 2]
        return self.op("Slice", x, starts, ends, axes, steps or [1, 1])

    def product(self, x, layer):
        """A convolution of one pixel over [batch, rows, columns, channels]; the last axis may have been cut."""
        weight, bias = layer
        outputs, inputs = weight.shape[:2]
        weight = weight[:, :, 0, 0].T
        pixels = self.batch * self.height * self.width
        if self.letter == "s" and inputs > 1024:
            parts = self.op("Reshape", x, [pixels, 4, inputs // 4])
            parts = self.op("Transpose", parts, perm=[1, 0, 2])
            y = self.op("MatMul", parts, weight.reshape(4, inputs // 4, outputs))
            y = self.op("ReduceSum", y, [0], keepdims=0)
        else:
            y = self.op("MatMul", self.op("Reshape", x, [pixels, inputs]), weight)
        return self.op("Reshape", self.op("Add", y, bias), [self.batch, self.height, self.width, outputs])

    def window(self, x, layer, stride, size):
        """A convolution of 3 × 3 over [batch, rows, columns, channels], of which `size`² pixels count."""
        weight, bias = layer
        outputs, inputs = weight.shape[:2]
        weight = weight.transpose(2, 3, 1, 0)
        x = self.slice(x, [0, 0], [size, size])
        bottom, right = (stride * (n - 1) + 3 - 1 - size for n in (self.height, self.width))
        x = self.op("Pad", x, [0, 1, 1, 0, 0, max(bottom, 1), max(right, 1), 0])
        places = [
            self.slice(x, [i, j], [i + stride * (self.height - 1) + 1, j + stride * (self.width - 1) + 1], [stride] * 2)
            for i in range(3)
            for j in range(3)
        ]
        pixels = self.batch * self.height * self.width
        places = [self.op("Reshape", place, [1, pixels, inputs]) for place in places]
        y = self.op("MatMul", self.op("Concat", *places, axis=0), weight.reshape(9, inputs, outputs))
        y = self.op("ReduceSum", y, [0], keepdims=0)
        return self.op("Reshape", self.op("Add", y, bias), [self.batch, self.height, self.width, outputs])

    def planes(self, x, layer, size):
        """A convolution of one pixel over [batch, channels, rows, columns]."""
        weight, bias = layer
        outputs, inputs = weight.shape[:2]
        x = self.op("Reshape", x, [self.batch, inputs, size * size])
        y = self.op("Add", self.op("MatMul", weight[:, :, 0, 0][None], x), bias[None, :, None])
        return self.op("Reshape", y, [self.batch, outputs, size, size])

    def block(self, x, block):
        """x is [batch, channels, rows, columns] in stages c and n, else [batch, rows, columns, channels]."""
        first, second, third = block["convs"]
        shortcut, stride, size = block["shortcut"], block["stride"], 56 >> block["stage"]
        if self.letter.startswith("g"):
            wide, narrow = (int(digit) for digit in self.letter[1:3])
            y = self.relu(self.grouped(x, first, 1, narrow, size * stride))
            y = self.relu(self.grouped(y, second, stride, wide, size))
            if shortcut and self.letter.endswith("a"):
                if stride > 1:
                    x = self.op("Slice", x, [0, 0], [size * stride] * 2, [2, 3], [stride] * 2)
                both = np.concatenate([third[0], shortcut[0]], axis=1), third[1] + shortcut[1]
                return self.relu(self.conv(self.op("Concat", y, x, axis=1), both))
            y = self.conv(y, third)
            return self.relu(self.op("Add", y, self.conv(x, shortcut, stride) if shortcut else x))
        if self.letter in "cn":
            narrow = (lambda x, layer: self.planes(x, layer, size)) if self.letter == "n" else self.conv
            y = self.relu(self.conv(x, first) if stride > 1 else narrow(x, first))
            y = narrow(self.relu(self.conv(y, second, stride)), third)
            if shortcut:
                x = self.conv(x, shortcut, stride) if stride > 1 else narrow(x, shortcut)
            return self.relu(self.op("Add", y, x))
        # The first block of a stage gets [batch, channels, rows, columns] from outside, of twice the size.
        if shortcut:
            outer = self.turned(x, True)
            before = self.height, self.width
            self.height = self.width = size * stride
            y = self.relu(self.product(outer, first))
            self.height, self.width = before
            x = self.slice(outer, [0, 0], [size * stride] * 2, [stride] * 2) if stride > 1 else outer
            x = self.op("Pad", x, [0, 0, 0, 0, 0, self.height - size, self.width - size, 0])
            x = self.product(x, shortcut)
        else:
            y = self.relu(self.product(x, first))
        if self.letter == "m":
            y = self.turned(self.conv(self.turned(y, False), second, stride), True)
        else:
            y = self.window(y, second, stride, size * stride if shortcut else size)
        return self.relu(self.op("Add", self.product(self.relu(y), third), x))

    def onnx(self):
        x = self.relu(self.start())
        x = self.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for i, block in enumerate(self.blocks):
            self.letter, size = self.form[block["stage"]], 56 >> block["stage"]
            self.height, self.width = grid(self.batch, size) if self.letter in "us" else (size, size)
            x = self.block(x, block)
            last = i + 1 == len(self.blocks) or self.blocks[i + 1]["stage"] != block["stage"]
            if last and self.letter in "mus":
                if (self.height, self.width) != (size, size):
                    x = self.slice(x, [0, 0], [size, size])
                x = self.turned(x, False)
        weight, bias = self.head
        if self.last:
            x = self.op("GlobalAveragePool", x)
        if self.last == "q":
            x = self.op("Conv", x, weight[:, :, None, None], bias, kernel_shape=[1, 1])
        else:
            x = self.op("Reshape", x, [self.batch, 2048]) if self.last else self.op("ReduceMean", x, [2, 3], keepdims=0)
            x = self.op("Add", self.op("MatMul", x, self.op("Transpose", weight, perm=[1, 0])), bias)
        return self.model(self.dtype, {"x": [self.batch, 3, 224, 224]}, x, [self.batch, 1000])

    def example(self):
        """Random tensors on the GPU by name, and what `y` should become, in fp64."""
        import torch
        from torch.nn import functional as F

        dtype = torch.float32 if self.dtype == np.float32 else torch.float16
        generator = torch.Generator(device="cuda").manual_seed(3)
        pictures = torch.randn(self.batch, 3, 224, 224, device="cuda", generator=generator).to(dtype)

        def conv(x, layer, stride=1):
            weight, bias = (torch.from_numpy(part.astype(np.float64)).to(x.device) for part in layer)
            return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

        x = F.max_pool2d(conv(pictures.double(), self.stem, 2).relu(), 3, 2, 1)
        for block in self.blocks:
            first, second, third = block["convs"]
            y = conv(conv(conv(x, first).relu(), second, block["stride"]).relu(), third)
            x = (y + (conv(x, block["shortcut"], block["stride"]) if block["shortcut"] else x)).relu()
        weight, bias = (torch.from_numpy(part.astype(np.float64)).to(x.device) for part in self.head)
        want = F.linear(x.mean((2, 3)), weight, bias)
        return {"x": pictures, "y": torch.empty(self.batch, 1000, device="cuda", dtype=dtype)}, want


def known_forms(text):
    """The forms in a list; a misspelt one is refused."""
    for form in text.split(","):
        if not re.fullmatch(r"([cnmus]|g[1-9]{2}a?)(\.([cnmus]|g[1-9]{2}a?)){3}(-[48de]?(-[pq])?)?", form):
            raise argparse.ArgumentTypeError(f"form `{form}` is not four of c, n, m, u, s, gIJ and gIJa, then -4, -8, -d or -e, then -p or -q")
    return text.split(",")


def plan(dtype, batch, form):
    return bytes(build(Network(dtype, batch, form).onnx(), Warnings()))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("forms", type=known_forms)
    arguments.add_argument("dtype", choices=["f32", "f16"])
    arguments.add_argument("batches", type=int, nargs="+")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--kernels", action="store_true")
    arguments.add_argument("--raw-loop", default="./raw_loop")
    given = arguments.parse_args()
    dtype = np.float32 if given.dtype == "f32" else np.float16
    cells = [(batch, form) for batch in given.batches for form in given.forms]
    with ProcessPoolExecutor(8) as pool:
        plans = [pool.submit(plan, dtype, *cell) for cell in cells]
        for (batch, form), built in zip(cells, plans):
            row = {"model": "resnet50", "form": form, "dtype": given.dtype, "batch": batch}
            try:
                engine = built.result()
                if given.check or given.kernels:
                    tensors, want = Network(dtype, batch, form).example()
                    loaded = Loaded(engine, tensors, Warnings())
                    row["deviation"] = loaded.deviation(want)
                    if given.kernels:
                        row["kernels"] = loaded.kernels()
                print(json.dumps(row | timed(engine, given.raw_loop)), flush=True)
            except RuntimeError as error:
                print(json.dumps(row | {"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
