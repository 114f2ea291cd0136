#!/usr/bin/env python3
"""Models of torch, exported to ONNX, each beside its inputs and torch's outputs.

    torch_files.py FOLDER [--only NAME …] [--batches 1 8 …] [--tokens 128] [--time] [--device cpu]

Writes NAME.onnx and NAME.safetensors (`in.x0`, `out.y0`, …) for `examples/against_torch.rs`. The outputs are
computed on the GPU without TF32, in the model's own precision; those of a layer in fp64, rounded. With --time, one
line of JSON a model has the median device time of torch eager and torch.compile(mode="reduce-overhead"), in ms.
On the CPU nothing is timed.

Needs torch, torchvision, transformers, onnx and safetensors.
"""

import argparse
import json
import pathlib
import statistics
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


class Gated(nn.Module):
    """`act(x W + b) * (x V + c)`, as in gated feed-forward layers."""

    def __init__(self, activation, width=256, inner=512):
        super().__init__()
        self.gate, self.value = nn.Linear(width, inner), nn.Linear(width, inner)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.gate(x)) * self.value(x)


class GatedByInput(nn.Module):
    """`act(x W + b) * y`."""

    def __init__(self, activation, width=256, inner=512):
        super().__init__()
        self.gate = nn.Linear(width, inner)
        self.activation = activation

    def forward(self, x, y):
        return self.activation(self.gate(x)) * y


ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
}


def layers():
    for name, activation in ACTIVATIONS.items():
        yield f"gated_{name}", Gated(activation), [torch.randn(4, 33, 256)]
        yield f"gated_{name}_by_input", GatedByInput(activation), [torch.randn(16, 256), torch.randn(16, 512)]
    yield "group_norm_1", nn.GroupNorm(1, 32), [torch.randn(3, 32, 17, 19)]
    yield "group_norm_4", nn.GroupNorm(4, 32), [torch.randn(3, 32, 17, 19)]
    for groups in (1, 2, 4, 16):
        module = nn.ConvTranspose1d(16, 32, 4, stride=2, padding=1, groups=groups)
        yield f"conv_transpose_1d_{groups}", module, [torch.randn(3, 16, 50)]
        module = nn.ConvTranspose2d(16, 32, 4, stride=2, padding=1, groups=groups)
        yield f"conv_transpose_2d_{groups}", module, [torch.randn(3, 16, 20, 21)]


class Encoder(nn.Module):
    """BERT, from tokens and a mask to the states of the last layer."""

    def __init__(self, **sizes):
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert = BertModel(BertConfig(**sizes), add_pooling_layer=False)

    def forward(self, tokens, mask):
        return self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state


MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BUILDERS = {
    "resnet50": lambda models: models.resnet50(weights=None),
    "vit-b16": lambda models: models.vit_b_16(weights=None),
    "convnext-tiny": lambda models: models.convnext_tiny(weights=None),
    "swin-tiny": lambda models: models.swin_t(weights=None),
    "bert-base": lambda models: Encoder(),
    "minilm": lambda models: Encoder(**MINILM),
}


def inputs_of(network, batch, length):
    if not isinstance(network, Encoder):
        return [torch.randn(batch, 3, 224, 224)]
    tokens = torch.randint(0, 30000, (batch, length))
    return [tokens, torch.ones_like(tokens)]


def networks(batches, length):
    from torchvision import models

    for name, build in BUILDERS.items():
        for dtype, suffix in ((torch.float32, "f32"), (torch.float16, "f16")):
            for batch in batches:
                torch.manual_seed(0)
                network = build(models)
                if name == "vit-b16":
                    # Zeros at first, as all of the result would be.
                    nn.init.normal_(network.heads.head.weight, std=0.02)
                yield f"{name}_{suffix}_{batch}", network, inputs_of(network, batch, length), dtype


def device_time(call, iterations=200):
    for _ in range(30):
        call()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(iterations + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def export(folder, name, module, inputs, dtype, device):
    module = module.eval().to(device, dtype)
    inputs = [x.to(device, dtype if x.is_floating_point() else x.dtype) for x in inputs]
    names = [f"x{i}" for i in range(len(inputs))]
    torch.onnx.export(
        module, tuple(inputs), str(folder / f"{name}.onnx"), input_names=names, output_names=["y0"], dynamo=False,
        opset_version=18,
    )
    return module, inputs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    every = [(*layer, torch.float32) for layer in layers()] + list(networks(args.batches, args.tokens))
    for name, module, inputs, dtype in every:
        if args.only and not any(name.startswith(only) for only in args.only):
            continue
        module, inputs = export(args.folder, name, module, inputs, dtype, args.device)
        with torch.no_grad():
            if dtype == torch.float32 and sum(p.numel() for p in module.parameters()) < 1_000_000:
                expected = module.double()(*[x.double() if x.is_floating_point() else x for x in inputs]).float()
                module.float()
            else:
                expected = module(*inputs)
        tensors = {f"in.x{i}": x.cpu().contiguous() for i, x in enumerate(inputs)}
        tensors["out.y0"] = expected.cpu().contiguous()
        save_file(tensors, str(args.folder / f"{name}.safetensors"))
        if not args.time or args.device == "cpu":
            continue
        # As TensorRT does.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        with torch.no_grad():
            line = {"file": name, "torch_eager_ms": device_time(lambda: module(*inputs))}
            compiled = torch.compile(module, mode="reduce-overhead")
            line["torch_compile_ms"] = device_time(lambda: compiled(*inputs))
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
