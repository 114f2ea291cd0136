"""What the scripts beside this one share: networks assembled node by node as ONNX, their engines, times,
kernels and deviations. No network is in here.

Needs numpy, onnx and the Python package tensorrt-rtx; torch where results or kernels are looked at.
"""

import json
import re
import subprocess
import tempfile

import numpy as np
import onnx
import tensorrt_rtx_bindings as trt
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes and initializers of one model."""

    opset = 21

    def __init__(self):
        self.nodes, self.weights = [], []

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        inputs = [name if isinstance(name, str) else self.constant(name) for name in inputs]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values):
        values = np.array(values, np.int64) if isinstance(values, list) else values
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def model(self, dtype, inputs, output, shape):
        """With inputs by name and shape, and `output`, which becomes `y`."""
        kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.FLOAT16
        self.nodes.append(helper.make_node("Reshape", [output, self.constant(shape)], ["y"]))
        inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
        outputs = [helper.make_tensor_value_info("y", kind, shape)]
        graph = helper.make_graph(self.nodes, "network", inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=11)


class Warnings(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)

    def log(self, severity, message):
        if severity <= trt.ILogger.WARNING:
            print(json.dumps({"tensorrt": message[:300]}), flush=True)


def build(model, logger):
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise RuntimeError([parser.get_error(i).desc() for i in range(parser.num_errors)])
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise RuntimeError("the builder gives no engine")
    return plan


def timed(plan, raw_loop):
    """Times of the raw C++ loop over a CUDA graph whose kernels wait."""
    with tempfile.NamedTemporaryFile(suffix=".plan") as file:
        file.write(plan)
        file.flush()
        loop = [raw_loop, file.name, "--iterations", "200", "--wait"]
        return json.loads(subprocess.run(loop, capture_output=True, text=True, check=True).stdout)


class Loaded:
    """An engine on the GPU over tensors of PyTorch, by name."""

    def __init__(self, plan, tensors, logger):
        import torch

        self.torch, self.tensors = torch, tensors
        self.runtime = trt.Runtime(logger)
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.stream = torch.cuda.Stream()
        for i in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(i)
            self.context.set_tensor_address(name, tensors[name].data_ptr())
        torch.cuda.synchronize()

    def run(self):
        self.context.execute_async_v3(self.stream.cuda_stream)
        self.torch.cuda.synchronize()
        return self.tensors["y"]

    def deviation(self, want):
        """The largest deviation from a result in fp64, as a part of the largest value."""
        return ((self.run().double() - want).abs().max() / want.abs().max()).item()

    def kernels(self, runs=10):
        """Names and times (µs) of the kernels in order, one after the other. Wants CUDA_LAUNCH_BLOCKING=1,
        as kernels overlap otherwise."""
        from torch.profiler import ProfilerActivity, profile

        for _ in range(5):
            self.run()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
            for _ in range(runs):
                self.run()
        events = [e for e in trace.events() if str(e.device_type).endswith("CUDA")]
        events.sort(key=lambda e: e.time_range.start)
        each = len(events) // runs
        rows = []
        for i in range(each):
            times = sorted(events[run * each + i].time_range.elapsed_us() for run in range(runs))
            rows.append((re.sub(r"\s+", " ", events[i].name), times[runs // 2]))
        return rows
