#!/usr/bin/env python3
"""Times an encoder whose linear layers are written in different forms, with TensorRT-RTX.

Weights are random; there are no embeddings. Times are those of benches/cpp/raw_loop.cpp, over CUDA graphs whose
kernels wait. One line of JSON a form goes to stdout.

    transformer_forms.py bert|minilm|vit FORM,FORM… f32|f16 BATCH… [--layers N] [--tokens N] [--activation A]
                         [--check] [--kernels] [--raw-loop PATH]

A form is plain, or parts of these joined by +:
    flat      query, key and value as one layer
    batched   query, key and value as one batched product
    pair      query and key as one batched product, the value by itself, so that it can run beside them
    each      query, key and value as a product for each head
    all       all heads of query, key and value as one batched product
    apart     with each or plain: and not joined
    two       with batched: in products for two heads each
    sideN     the second layer of the feed-forward network with its outputs in N parts
    turned    with pair: the value as heads by tokens at once, from its weight times what is turned
    wide      query, key and value as one batched product, put side by side as what one layer gives, and then divided as in flat
    ffnN      both layers of the feed-forward network in N parts
    downN     its second layer alone in N parts
    lateN     the same, with the first layer's bias and the activation behind the division into parts
    halves    the activation of both halves of the hidden axis apart, so that the first layer is a bare product
    rowsN     the feed-forward network of N parts of the rows each by itself, so that they can run side by side
    chainsN   the whole encoder of N parts of the batch each by itself
    upN       the first layer alone, its rows in N parts, with the weight N times
    heads     with batched: the bias behind the division into heads
    einsum    attention as Einsum, without transpositions
    fused     attention as one operator, which TensorRT-RTX has in fp16 alone
    outN      the product after attention in N parts
    alignN    the keys and values of attention padded to a multiple of N
    tokensN   the tokens padded to a multiple of N, from the first layer to the last
    padN      the rows of every linear layer padded to a multiple of N
    keepN     rows padded to a multiple of N once, and cut off for attention alone
    square    a mask of queries by keys, as files of torch have it
    guard     zeros for rows that see no key, behind attention, as files of torch have them
    split     the root of the scale for query and for key, as files of torch have it

Needs numpy, onnx, the Python package tensorrt-rtx, and torch for --check, which compares with fp64.
"""

import argparse
import json
import re
from functools import partial

import numpy as np
from forms import Graph, Loaded, Warnings, build, timed

# Width, heads, width of the hidden layer, layers, tokens, and whether norms come before their blocks.
MODELS = {
    "bert": (768, 12, 3072, 12, 128, False),
    "minilm": (384, 12, 1536, 6, 128, False),
    "vit": (768, 12, 3072, 12, 197, True),
}


class Network(Graph):
    """One encoder for one batch size and one form."""

    def __init__(self, model, dtype, layers, tokens, activation="gelu"):
        self.width, self.heads, self.hidden, count, usual, self.norm_first = MODELS[model]
        self.tokens, self.activation = tokens or usual, activation
        super().__init__()
        self.dtype = dtype
        self.eps = 1e-6 if self.norm_first else 1e-12
        rng = np.random.default_rng(1)

        def random(*shape):
            scale = self.width**-0.5 if len(shape) == 2 else 0.02
            return (rng.standard_normal(shape, dtype=np.float32) * scale).astype(dtype)

        def linear(outputs, inputs):
            return random(outputs, inputs), random(outputs)

        w, h = self.width, self.hidden
        self.layers = [
            {
                **{name: linear(w, w) for name in ("query", "key", "value", "out")},
                "up": linear(h, w),
                "down": linear(w, h),
                "norm1": (random(w) + 1, random(w)),
                "norm2": (random(w) + 1, random(w)),
            }
            for _ in range(layers or count)
        ]

    def linear(self, x, layer):
        weight, bias = layer
        if self.padding():
            y = self.batched(x, weight, bias, 1)
            return self.op("Reshape", y, [*self.states, weight.shape[0]])
        return self.op("Add", self.op("MatMul", x, self.op("Transpose", weight, perm=[1, 0])), bias)

    def padding(self):
        """The rows that a multiple of the wanted number has more."""
        return -self.rows % (self.parts("pad") or 1)

    def kept(self, x):
        """States of all texts one after the other, with the rows of `keepN` behind them."""
        if self.states == [self.batch, self.tokens]:
            return x
        rows = self.batch * self.tokens
        return self.op("Pad", self.op("Reshape", x, [1, rows, self.width]), [0, 0, 0, 0, self.rows - rows, 0])

    def cut(self, x):
        """Without those rows, which are on the last axis but one."""
        if self.states == [self.batch, self.tokens]:
            return x
        return self.op("Slice", x, [0], [self.batch * self.tokens], [-2])

    def batched(self, x, weight, bias, parts):
        """A linear layer with its outputs in parts, as [parts, rows, outputs / parts]."""
        outputs, inputs = weight.shape[0] // parts, weight.shape[1]
        rows = self.op("Reshape", x, [1, self.rows, inputs])
        if self.padding():
            rows = self.op("Pad", rows, [0, 0, 0, 0, self.padding(), 0])
        weight = self.op("Transpose", weight.reshape(parts, outputs, inputs), perm=[0, 2, 1])
        y = self.op("MatMul", rows, weight)
        y = y if bias is None else self.op("Add", y, bias.reshape(parts, 1, outputs))
        return self.op("Slice", y, [0], [self.rows], [1]) if self.padding() else y

    def query_key_value(self, x, layer):
        three = [layer[name] for name in ("query", "key", "value")]
        head = self.width // self.heads
        each = [self.batch, self.tokens, self.heads, head]
        if "each" in self.form:
            return self.each_head(x, three)
        if "all" in self.form:
            weight, bias = (np.concatenate(part) for part in zip(*three))
            y = self.batched(x, weight, bias, 3 * self.heads)
            y = self.op("Reshape", y, [3, self.heads, self.batch, self.tokens, head])
            return [self.op("Squeeze", part, [0]) for part in self.op("Split", y, [1, 1, 1], outputs=3, axis=0)]
        if "pair" in self.form:
            weight, bias = (np.concatenate(part) for part in zip(*three[:2]))
            y = self.batched(x, weight, bias, 2)
            pair = [self.op("Squeeze", part, [0]) for part in self.op("Split", y, [1, 1], outputs=2, axis=0)]
            parts = [self.op("Reshape", self.cut(part), each) for part in pair]
            # The key is turned once, as the scores take it.
            parts = [self.op("Transpose", part, perm=order) for part, order in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1]))]
            if "turned" in self.form:
                weight, bias = three[2]
                y = self.op("MatMul", weight, self.op("Transpose", x, perm=[0, 2, 1]))
                y = self.op("Reshape", self.op("Add", y, bias.reshape(-1, 1)), [*each[:1], *each[2:], self.tokens])
                return [*parts, self.op("Transpose", y, perm=[0, 1, 3, 2])]
            y = self.op("Reshape", self.cut(self.linear(x, three[2])), each)
            return [*parts, self.op("Transpose", y, perm=[0, 2, 1, 3])]
        if not {"flat", "batched", "wide"} & self.form:
            inputs = self.inputs_of_three(x)
            parts = [self.op("Reshape", self.cut(self.linear(*one)), each) for one in zip(inputs, three)]
            return [self.op("Transpose", part, perm=[0, 2, 1, 3]) for part in parts]
        weight, bias = (np.concatenate(part) for part in zip(*three))
        if "batched" not in self.form:
            if "wide" in self.form:
                y = self.op("Transpose", self.batched(x, weight, bias, 3), perm=[1, 0, 2])
                y = self.cut(self.op("Reshape", y, [*self.states, 3 * self.width]))
            else:
                y = self.cut(self.linear(x, (weight, bias)))
            y = self.op("Reshape", y, [self.batch, self.tokens, 3, self.heads, head])
            y = self.op("Transpose", y, perm=[2, 0, 3, 1, 4])
        else:
            late, two = "heads" in self.form, "two" in self.form
            y = self.batched(x, weight, None if late else bias, 3 * self.heads // 2 if two else 3)
            if two:
                y = self.op("Reshape", y, [3, self.heads // 2, *each[:2], 2, head])
                y = self.op("Transpose", y, perm=[0, 2, 3, 1, 4, 5])
            y = self.op("Reshape", self.cut(y), [3, *each])
            if late:
                y = self.op("Add", y, bias.reshape(3, 1, 1, self.heads, head))
            if "einsum" not in self.form:
                y = self.op("Transpose", y, perm=[0, 1, 3, 2, 4])
        return [self.op("Squeeze", part, [0]) for part in self.op("Split", y, [1, 1, 1], outputs=3, axis=0)]

    def inputs_of_three(self, x):
        if "apart" not in self.form:
            return [x] * 3
        # TensorRT joins products of the same tensor, and not those of one that was changed by nothing.
        ones = np.ones(self.width, self.dtype)
        return [x, self.op("Mul", x, ones), self.op("Add", x, -0.0 * ones)]

    def each_head(self, x, three):
        """The three as [heads, batch, tokens, head]."""
        head, parts = self.width // self.heads, []
        for x, (weight, bias) in zip(self.inputs_of_three(x), three):
            rows = self.op("Reshape", x, [1, self.rows, self.width])
            weight = weight.reshape(self.heads, head, self.width)
            y = self.op("MatMul", rows, self.op("Transpose", weight, perm=[0, 2, 1]))
            y = self.op("Add", y, bias.reshape(self.heads, 1, head))
            parts.append(self.op("Reshape", y, [self.heads, self.batch, self.tokens, head]))
        return parts

    def parts(self, of):
        found = (re.fullmatch(of + r"(\d+)", part) for part in self.form)
        return next((int(match[1]) for match in found if match), None)

    def attention(self, query, key, value, scale):
        if self.parts("align") is None:
            return self.heads_attention(query, key, value, scale)
        more = -self.tokens % self.parts("align")
        longer = [self.op("Pad", part, [0, 0, 0, 0, 0, 0, more, 0]) for part in (key, value)]
        hidden = np.zeros((1, 1, 1, self.tokens + more), self.dtype)
        hidden[..., self.tokens :] = -np.inf
        mask = self.op("Pad", self.mask, [0, 0, 0, 0, 0, 0, 0, more]) if self.mask else None
        own, self.mask = self.mask, self.op("Add", mask, hidden) if mask else self.constant(hidden)
        context = self.heads_attention(query, *longer, scale)
        self.mask = own
        return context

    def heads_attention(self, query, key, value, scale):
        if "split" in self.form:
            query, key = (self.op("Mul", part, np.sqrt(scale)) for part in (query, key))
        if "fused" in self.form:
            mask = [self.mask] if self.mask else []
            return self.op("Attention", query, key, value, *mask, scale=float(scale))
        if "einsum" in self.form:
            scores = self.op("Einsum", query, key, equation="bshd,bthd->bhst")
        elif "pair" in self.form:
            scores = self.op("MatMul", query, key)
        else:
            scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        if "split" not in self.form:
            scores = self.op("Mul", scores, scale)
        if self.mask:
            mask = self.op("Transpose", self.mask, perm=[1, 0, 2, 3]) if {"each", "all"} & self.form else self.mask
            scores = self.op("Add", scores, mask)
        scores = self.op("Softmax", scores, axis=-1)
        if "einsum" in self.form:
            return self.op("Einsum", scores, value, equation="bhst,bthd->bshd")
        context = self.op("MatMul", scores, value)
        return self.op("Where", self.hidden_rows, np.zeros(1, self.dtype), context) if self.hidden_rows else context

    def attention_output(self, context, layer):
        weight, bias = layer["out"]
        parts = self.parts("out")
        if {"each", "all"} & self.form:
            context = self.op("Transpose", context, perm=[1, 2, 0, 3])
            context = self.op("Reshape", context, [self.batch, self.tokens, self.width])
            return self.linear(context, layer["out"])
        if parts is None:
            if "einsum" not in self.form:
                context = self.op("Transpose", context, perm=[0, 2, 1, 3])
            context = self.op("Reshape", context, [self.batch, self.tokens, self.width])
            return self.linear(self.kept(context), layer["out"])
        group, each = self.heads // parts, self.width // parts
        y = self.op("Reshape", context, [self.batch, parts, group, self.tokens, self.width // self.heads])
        y = self.op("Reshape", self.op("Transpose", y, perm=[0, 1, 3, 2, 4]), [self.batch, parts, self.tokens, each])
        weight = weight.reshape(1, self.width, parts, each).transpose(0, 2, 1, 3)
        y = self.op("MatMul", y, self.op("Transpose", weight, perm=[0, 1, 3, 2]))
        return self.op("Add", self.kept(self.op("ReduceSum", y, [1], keepdims=0)), bias)

    def first(self, x, layer):
        parts, (weight, bias) = self.parts("up"), layer
        if parts is None:
            return self.linear(x, layer)
        x = self.op("Reshape", x, [parts, self.rows // parts, self.width])
        weight = np.ascontiguousarray(np.broadcast_to(weight.T, (parts, *weight.T.shape)))
        y = self.op("Add", self.op("MatMul", x, weight), bias)
        return self.op("Reshape", y, [*self.states, self.hidden])

    def activated(self, x):
        match self.activation:
            case "gelu":
                return self.op("Gelu", x)
            case "tanh":
                return self.op("Gelu", x, approximate="tanh")
            case "relu":
                return self.op("Relu", x)
            case "silu":
                return self.op("Mul", x, self.op("Sigmoid", x))

    def in_halves(self, x, layer):
        (weight, bias), half = layer, self.hidden // 2
        y = self.op("MatMul", x, self.op("Transpose", weight, perm=[1, 0]))
        parts = self.op("Split", y, [half, half], outputs=2, axis=-1)
        parts = [self.activated(self.op("Add", part, part_of)) for part, part_of in zip(parts, np.split(bias, 2))]
        return self.op("Concat", *parts, axis=-1)

    def feed_forward(self, x, layer):
        parts = self.parts("rows")
        if parts is None:
            return self.feed_rows(x, layer)
        each, states = self.rows // parts, self.states
        x = self.op("Split", self.op("Reshape", x, [self.rows, self.width]), [each] * parts, outputs=parts, axis=0)
        self.states, self.rows = [1, each], each
        y = [self.feed_rows(self.op("Reshape", part, [1, each, self.width]), layer) for part in x]
        self.states, self.rows = states, each * parts
        return self.op("Reshape", self.op("Concat", *y, axis=1), [*states, self.width])

    def second(self, x, layer):
        parts, (weight, bias) = self.parts("side"), layer
        if parts is None:
            return self.linear(x, layer)
        y = self.op("Transpose", self.batched(x, weight, None, parts), perm=[1, 0, 2])
        return self.op("Add", self.op("Reshape", y, [*self.states, self.width]), bias)

    def feed_rows(self, x, layer):
        parts = self.parts("ffn") or self.parts("down") or self.parts("late")
        if parts is None:
            if "halves" in self.form:
                return self.second(self.in_halves(x, layer["up"]), layer["down"])
            return self.second(self.activated(self.first(x, layer["up"])), layer["down"])
        (weight, bias), each = layer["down"], self.hidden // parts
        if self.parts("ffn"):
            hidden = self.activated(self.batched(x, *layer["up"], parts))
        elif self.parts("late"):
            up, up_bias = layer["up"]
            hidden = self.op("MatMul", x, self.op("Transpose", up, perm=[1, 0]))
            hidden = self.op("Transpose", self.op("Reshape", hidden, [self.rows, parts, each]), perm=[1, 0, 2])
            hidden = self.activated(self.op("Add", hidden, up_bias.reshape(parts, 1, each)))
        else:
            hidden = self.activated(self.linear(x, layer["up"]))
            hidden = self.op("Transpose", self.op("Reshape", hidden, [self.rows, parts, each]), perm=[1, 0, 2])
        weight = weight.reshape(self.width, parts, each).transpose(1, 0, 2)
        y = self.op("MatMul", hidden, self.op("Transpose", weight, perm=[0, 2, 1]))
        y = self.op("Reshape", self.op("ReduceSum", y, [0], keepdims=0), [*self.states, self.width])
        return self.op("Add", y, bias)

    def norm(self, x, layer, name):
        return self.op("LayerNormalization", x, *layer[name], axis=-1, epsilon=self.eps)

    def onnx(self, form, batch):
        self.form, self.batch, self.nodes, self.weights = set(form.split("+")), batch, [], []
        self.opset = 23 if "fused" in self.form else 21
        rows = batch * self.tokens
        self.rows = rows + -rows % (self.parts("keep") or 1)
        self.states = [1, self.rows] if self.rows != rows else [batch, self.tokens]
        states, inputs = [batch, self.tokens, self.width], {}
        if not self.norm_first:
            inputs = {"mask": [batch, 1, 1, self.tokens]}
        chains = self.parts("chains") or 1
        if chains == 1:
            y = self.whole("x", "mask" if inputs else None)
        else:
            each = [batch // chains] * chains
            parts = self.op("Split", "x", each, outputs=chains, axis=0)
            masks = self.op("Split", "mask", each, outputs=chains, axis=0) if inputs else [None] * chains
            self.batch, self.rows, self.states = each[0], rows // chains, [each[0], self.tokens]
            y = self.op("Concat", *(self.encoder(*part) for part in zip(parts, masks)), axis=0)
        return self.model(self.dtype, {"x": states} | inputs, y, states)

    def whole(self, x, mask):
        """The encoder, with tokens more that nothing looks at in `tokensN`."""
        more, tokens = -self.tokens % (self.parts("tokens") or 1), self.tokens
        if more == 0:
            return self.encoder(x, mask)
        hidden = np.zeros((1, 1, 1, tokens + more), self.dtype)
        hidden[..., tokens:] = -np.inf
        mask = self.op("Add", self.op("Pad", mask, [0, 0, 0, 0, 0, 0, 0, more]), hidden) if mask else self.constant(hidden)
        x = self.op("Pad", x, [0, 0, 0, 0, more, 0])
        self.tokens, self.rows = tokens + more, self.batch * (tokens + more)
        self.states = [self.batch, self.tokens]
        y = self.op("Slice", self.encoder(x, mask), [0], [tokens], [1])
        self.tokens = tokens
        return y

    def encoder(self, x, mask):
        self.mask, self.hidden_rows = mask, None
        if mask and "guard" in self.form:
            seen = self.op("ReduceMax", mask, [3], keepdims=1)
            self.hidden_rows = self.op("Equal", seen, np.full(1, -np.inf, self.dtype))
        if mask and "square" in self.form:
            self.mask = self.op("Expand", mask, [self.batch, 1, self.tokens, self.tokens])
        x, scale = self.kept(x), np.array((self.width // self.heads) ** -0.5, self.dtype)
        for layer in self.layers:
            y = self.norm(x, layer, "norm1") if self.norm_first else x
            query, key, value = self.query_key_value(y, layer)
            context = self.attention(query, key, value, scale)
            x = self.op("Add", self.attention_output(context, layer), x)
            x = x if self.norm_first else self.norm(x, layer, "norm1")
            y = self.norm(x, layer, "norm2") if self.norm_first else x
            x = self.op("Add", self.feed_forward(y, layer), x)
            x = x if self.norm_first else self.norm(x, layer, "norm2")
        return self.cut(x)

    def example(self, batch):
        """Random tensors on the GPU by name, and what `y` should become, in fp64."""
        import torch

        dtype = torch.float32 if self.dtype == np.float32 else torch.float16
        generator = torch.Generator(device="cuda").manual_seed(3)
        x = torch.randn(batch, self.tokens, self.width, device="cuda", generator=generator).to(dtype)
        mask = torch.zeros(batch, 1, 1, self.tokens, device="cuda", dtype=dtype)
        mask[..., self.tokens // 2 :] = -10
        return {"x": x, "mask": mask, "y": torch.empty_like(x)}, self.in_fp64(x, mask)

    def in_fp64(self, x, mask):
        """The plain form, whatever form is compared with it."""
        import torch
        from torch.nn import functional as F

        def wide(pair):
            return [torch.from_numpy(part.astype(np.float64)).to(x.device) for part in pair]

        x, mask = x.double(), mask.double()
        kinds = {"gelu": F.gelu, "tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu, "silu": F.silu}
        activation = kinds[self.activation]
        for layer in self.layers:
            layer = {name: wide(pair) for name, pair in layer.items()}

            def norm(x, name, layer=layer):
                return F.layer_norm(x, (self.width,), *layer[name], self.eps)

            y = norm(x, "norm1") if self.norm_first else x
            three = (F.linear(y, *layer[name]) for name in ("query", "key", "value"))
            query, key, value = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in three)
            scores = query @ key.transpose(-1, -2) * (self.width // self.heads) ** -0.5
            scores = scores if self.norm_first else scores + mask
            x = F.linear((scores.softmax(-1) @ value).transpose(1, 2).flatten(2), *layer["out"]) + x
            x = x if self.norm_first else norm(x, "norm1")
            y = norm(x, "norm2") if self.norm_first else x
            x = F.linear(activation(F.linear(y, *layer["up"])), *layer["down"]) + x
            x = x if self.norm_first else norm(x, "norm2")
        return x


def known_forms(text):
    """The forms in a list; a misspelt part would be timed as plain."""
    for form in text.split(","):
        for part in form.split("+"):
            if not re.fullmatch(r"plain|flat|batched|pair|wide|heads|einsum|fused|halves|turned|each|all|apart|two|square|guard|split|(ffn|late|side|rows|chains|up|down|out|pad|keep|align|tokens)[1-9]\d*", part):
                raise argparse.ArgumentTypeError(f"`{part}` in form `{form}` is none of plain, flat, batched, pair, wide, heads, einsum, fused, halves, turned, each, all, apart, two, square, guard, split, sideN, lateN, rowsN, chainsN, upN, ffnN, downN, outN, alignN, tokensN, padN, keepN")
    return text.split(",")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", choices=MODELS)
    arguments.add_argument("forms", type=known_forms)
    arguments.add_argument("dtype", choices=["f32", "f16"])
    arguments.add_argument("batches", type=int, nargs="+")
    arguments.add_argument("--layers", type=int)
    arguments.add_argument("--tokens", type=int)
    arguments.add_argument("--activation", choices=["gelu", "tanh", "relu", "silu"], default="gelu")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--kernels", action="store_true")
    arguments.add_argument("--raw-loop", default="./raw_loop")
    given = arguments.parse_args()
    logger = Warnings()
    network = Network(given.model, np.float32 if given.dtype == "f32" else np.float16, given.layers, given.tokens, given.activation)
    for batch in given.batches:
        for form in given.forms:
            plan = build(network.onnx(form, batch), logger)
            row = {"model": given.model, "form": form, "dtype": given.dtype, "batch": batch}
            row |= {"layers": len(network.layers), "tokens": network.tokens, "activation": network.activation}
            if given.check or given.kernels:
                tensors, want = network.example(batch)
                loaded = Loaded(plan, tensors, logger)
                row["deviation"] = loaded.deviation(want)
                if given.kernels:
                    row["kernels"] = loaded.kernels()
            print(json.dumps(row | timed(plan, given.raw_loop)), flush=True)


if __name__ == "__main__":
    main()
