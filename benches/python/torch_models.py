#!/usr/bin/env python3
"""PyTorch's side of the comparison: eager and torch.compile(mode="reduce-overhead"), random weights.

Times are the device's, by CUDA events around each call, medians after a warm-up; fp32 runs with TF32, as
TensorRT-RTX does. One line of JSON a measurement goes to stdout.

    torch_models.py [--models resnet50 bert-base …] [--dtypes f32 f16] [--batches 1 8 32] [--seconds 300]

Needs torch, torchvision and transformers.
"""

import argparse
import json
import statistics
import sys
import time

import torch


def resnet50():
    from torchvision.models import resnet50 as build

    return build(weights=None), "image"


def vit_b16():
    from torchvision.models import vit_b_16 as build

    return build(weights=None), "image"


def bert(**sizes):
    from transformers import BertConfig, BertModel

    class States(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = BertModel(BertConfig(**sizes), add_pooling_layer=False)

        def forward(self, tokens, mask):
            return self.bert(tokens, attention_mask=mask).last_hidden_state

    return States(), "tokens"


MODELS = {
    "resnet50": resnet50,
    "bert-base": bert,
    "vit-b16": vit_b16,
    "minilm": lambda: bert(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12),
}


def inputs(kind, batch, dtype):
    if kind == "image":
        return (torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype),)
    tokens = torch.randint(0, 30522, (batch, 128), device="cuda")
    return tokens, torch.ones_like(tokens)


def measure(call, iterations):
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    first = time.perf_counter() - start
    for _ in range(20):
        call()
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(iterations + 1)]
    host = []
    events[0].record()
    for event in events[1:]:
        before = time.perf_counter()
        call()
        host.append(time.perf_counter() - before)
        event.record()
    torch.cuda.synchronize()
    device = [a.elapsed_time(b) for a, b in zip(events, events[1:])]
    return {
        "device_ms": round(statistics.median(device), 5),
        "host_ms": round(statistics.median(host) * 1e3, 5),
        "first_ms": round(first * 1e3, 1),
        "iterations": iterations,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--dtypes", nargs="+", default=["f32", "f16"], choices=["f32", "f16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--modes", nargs="+", default=["torch-eager", "torch-compile"])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=300, help="start no measurement after this time")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    begun = time.perf_counter()
    for mode in options.modes:
        for name in options.models:
            for dtype_name in options.dtypes:
                dtype = {"f32": torch.float32, "f16": torch.float16}[dtype_name]
                model, kind = MODELS[name]()
                model = model.eval().to("cuda", dtype)
                for batch in options.batches:
                    if time.perf_counter() - begun > options.seconds:
                        print(f"left out for time: {mode} {name} {dtype_name} {batch}", file=sys.stderr)
                        continue
                    torch._dynamo.reset()
                    run = model if mode == "torch-eager" else torch.compile(model, mode="reduce-overhead")
                    arguments = inputs(kind, batch, dtype)
                    with torch.inference_mode():
                        result = measure(lambda: run(*arguments), options.iterations)
                    told = {"who": mode, "model": name, "dtype": dtype_name, "batch": batch, **result}
                    told["version"] = f"PyTorch {torch.__version__}"
                    print(json.dumps(told), flush=True)
                del model
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
