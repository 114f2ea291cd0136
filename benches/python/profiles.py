#!/usr/bin/env python3
"""Times an ONNX model whose sizes are not fixed in engines with other optimization profiles, with TensorRT-RTX.

All open axes of the model get the same size. Times are those of a CUDA graph of PyTorch, kernels overlapping, medians of
100. One line of JSON an engine goes to stdout, with what making it took.

    profiles.py MODEL.onnx PROFILES… [--sizes N…]

PROFILES are those of one engine, joined by commas: a size alone, or a range as MIN-OPT-MAX. Each of the sizes is run with
the first that it fits, as accelerant does.

    profiles.py bert.onnx 1-128-128 128 128,64,1-128-128 --sizes 128 64 100

Needs torch and the Python package tensorrt-rtx.
"""

import argparse
import json
import time

import tensorrt_rtx_bindings as trt
from forms import Warnings


def profile(text):
    sizes = [int(size) for size in text.split("-")]
    return sizes * 3 if len(sizes) == 1 else sizes


def build(path, profiles, logger):
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        raise RuntimeError([parser.get_error(i).desc() for i in range(parser.num_errors)])
    config = builder.create_builder_config()
    for sizes in profiles:
        told = builder.create_optimization_profile()
        for tensor in (network.get_input(i) for i in range(network.num_inputs)):
            told.set_shape(tensor.name, *[[size if axis < 0 else axis for axis in tensor.shape] for size in sizes])
        config.add_optimization_profile(told)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("the builder gives no engine")
    return plan


def milliseconds(do):
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    result = do()
    torch.cuda.synchronize()
    return result, round((time.perf_counter() - start) * 1e3, 2)


def bind(engine, context, size):
    """Tensors for every input and output, which must be kept."""
    import torch

    kinds = {trt.int64: torch.int64, trt.int32: torch.int32, trt.float16: torch.float16, trt.float32: torch.float32}
    tensors = []
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            context.set_input_shape(name, [size if axis < 0 else axis for axis in engine.get_tensor_shape(name)])
        shape = tuple(context.get_tensor_shape(name))
        tensors.append(torch.ones(shape, dtype=kinds[engine.get_tensor_dtype(name)], device="cuda"))
        context.set_tensor_address(name, tensors[-1].data_ptr())
    return tensors


def of_graph(context, stream, iterations=100):
    import torch

    graph = torch.cuda.CUDAGraph()
    for _ in range(10):
        context.execute_async_v3(stream.cuda_stream)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        context.execute_async_v3(stream.cuda_stream)
    times = []
    for _ in range(iterations):
        start, end = torch.cuda.Event(True), torch.cuda.Event(True)
        with torch.cuda.stream(stream):
            start.record(stream)
            graph.replay()
            end.record(stream)
        end.synchronize()
        times.append(start.elapsed_time(end))
    return round(sorted(times)[iterations // 2], 4)


def timed(plan, profiles, sizes, logger):
    import torch

    stream, runtime = torch.cuda.Stream(), trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    context, made = milliseconds(lambda: engine.create_execution_context(config))
    rows = []
    for size in sizes:
        fits = (i for i, (least, _, most) in enumerate(profiles) if least <= size <= most)
        chosen = next(fits, None)
        if chosen is None:
            continue
        _, choice = milliseconds(lambda: context.set_optimization_profile_async(chosen, stream.cuda_stream))
        tensors = bind(engine, context, size)
        _, first = milliseconds(lambda: context.execute_async_v3(stream.cuda_stream))
        rows.append({"size": size, "profile": chosen, "choice_ms": choice, "first_ms": first, "device_ms": of_graph(context, stream)})
        del tensors
    return {"context_ms": made, "runs": rows}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("profiles", nargs="+")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[128])
    given = arguments.parse_args()
    logger = Warnings()
    for text in given.profiles:
        profiles = [profile(part) for part in text.split(",")]
        start = time.perf_counter()
        plan = build(given.model, profiles, logger)
        row = {"profiles": text, "build_s": round(time.perf_counter() - start, 2), "bytes": plan.nbytes}
        print(json.dumps(row | timed(plan, profiles, given.sizes, logger)), flush=True)


if __name__ == "__main__":
    main()
