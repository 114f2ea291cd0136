//! The lower bound that the crate is measured against: TensorRT-RTX's C++ API with nothing around it.
//! Deserialises a bare plan, gives every tensor memory once, and enqueues it in a loop; the device's time
//! is taken with CUDA events. One line of JSON goes to stdout.
//!
//!   raw_loop PLAN [--iterations N] [--warm-up N] [--graph|--wait] [--batch N]
//!
//! `--graph` asks TensorRT-RTX to capture whole graphs. `--wait` captures the execution here, has every kernel wait
//! for the end of those before it, and launches that graph: what `kernel_overlap(false)` does. `--batch` is for
//! plans with a dynamic first axis.
//! Compiled by `benches/cuda/pack.sh`. Links neither TensorRT nor CUDA: both are opened at run time.

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <NvInfer.h>

namespace {

[[noreturn]] void fail(const std::string &text) {
  std::fprintf(stderr, "raw_loop: %s\n", text.c_str());
  std::exit(1);
}

void *open_library(const char *name) {
  void *library = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    fail(dlerror());
  }
  return library;
}

/// A function of the driver, by the name that the header gives its current version.
template <typename Function> Function *driver(const char *name) {
  static void *const library = open_library("libcuda.so.1");
  auto *const function = reinterpret_cast<Function *>(dlsym(library, name));
  if (function == nullptr) {
    fail(std::string("the driver has no ") + name);
  }
  return function;
}

#define TEXT_OF(name) #name
#define NAME_OF(name) TEXT_OF(name)
#define CUDA(function, ...)                                                                                            \
  do {                                                                                                                 \
    if (const CUresult status = driver<decltype(function)>(NAME_OF(function))(__VA_ARGS__); status != CUDA_SUCCESS) {  \
      fail(#function " failed with " + std::to_string(status));                                                       \
    }                                                                                                                  \
  } while (false)

class Logger final : public nvinfer1::ILogger {
  void log(Severity severity, const char *text) noexcept override {
    if (severity <= Severity::kWARNING) {
      std::fprintf(stderr, "raw_loop: %s\n", text);
    }
  }
};

std::size_t element_bits(nvinfer1::DataType type) {
  using T = nvinfer1::DataType;
  switch (type) {
  case T::kINT64: return 64;
  case T::kFLOAT:
  case T::kINT32: return 32;
  case T::kHALF:
  case T::kBF16: return 16;
  default: return 8;
  }
}

struct Options {
  std::string plan;
  int iterations = 200;
  int warm_up = 50;
  int batch = 0;
  bool graph = false;
  bool wait = false;
};

Options parse(int count, char **arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const auto number = [&] {
      if (++i >= count) {
        fail(argument + " wants a number");
      }
      return std::atoi(arguments[i]);
    };
    if (argument == "--iterations") {
      options.iterations = number();
    } else if (argument == "--warm-up") {
      options.warm_up = number();
    } else if (argument == "--batch") {
      options.batch = number();
    } else if (argument == "--graph") {
      options.graph = true;
    } else if (argument == "--wait") {
      options.wait = true;
    } else {
      options.plan = argument;
    }
  }
  if (options.plan.empty() || options.iterations < 1 || (options.graph && options.wait)) {
    fail("usage: raw_loop PLAN [--iterations N] [--warm-up N] [--graph|--wait] [--batch N]");
  }
  return options;
}

/// Replaces the dependencies by which a kernel may start before the one that it depends on has ended.
void wait_for_ends(CUgraph graph) {
  std::size_t count = 0;
  CUDA(cuGraphGetEdges, graph, nullptr, nullptr, nullptr, &count);
  std::vector<CUgraphNode> from(count);
  std::vector<CUgraphNode> to(count);
  std::vector<CUgraphEdgeData> edges(count);
  if (count > 0) {
    CUDA(cuGraphGetEdges, graph, from.data(), to.data(), edges.data(), &count);
  }
  const CUgraphEdgeData plain{};
  for (std::size_t i = 0; i < count; ++i) {
    if (edges[i].type != plain.type) {
      CUDA(cuGraphRemoveDependencies, graph, &from[i], &to[i], &edges[i], std::size_t{1});
      CUDA(cuGraphAddDependencies, graph, &from[i], &to[i], &plain, std::size_t{1});
    }
  }
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

int main(int count, char **arguments) {
  const Options options = parse(count, arguments);
  CUDA(cuInit, 0);
  CUcontext device{};
  CUDA(cuDevicePrimaryCtxRetain, &device, 0);
  CUDA(cuCtxSetCurrent, device);
  CUstream stream{};
  CUDA(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);

  const auto start = std::chrono::steady_clock::now();
  std::ifstream file(options.plan, std::ios::binary);
  const std::vector<char> plan((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (plan.empty()) {
    fail("no plan in " + options.plan);
  }
  using Create = void *(void *, std::int32_t);
  auto *const create =
      reinterpret_cast<Create *>(dlsym(open_library("libtensorrt_rtx.so.1"), "createInferRuntime_INTERNAL"));
  if (create == nullptr) {
    fail("the library has no createInferRuntime_INTERNAL");
  }
  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(
      static_cast<nvinfer1::IRuntime *>(create(&logger, NV_TENSORRT_VERSION)));
  if (!runtime) {
    fail("no runtime");
  }
  const std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
  if (!engine) {
    fail("the plan is refused");
  }
  const std::unique_ptr<nvinfer1::IRuntimeConfig> config(engine->createRuntimeConfig());
  if (options.graph && !config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE)) {
    fail("graphs are refused");
  }
  const std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext(config.get()));
  if (!context) {
    fail("no context");
  }

  std::mt19937 random(1);
  const auto bind = [&](bool inputs) {
    for (std::int32_t i = 0; i < engine->getNbIOTensors(); ++i) {
      const char *name = engine->getIOTensorName(i);
      const bool input = engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
      if (input != inputs) {
        continue;
      }
      nvinfer1::Dims dims = input ? engine->getTensorShape(name) : context->getTensorShape(name);
      for (std::int32_t axis = 0; axis < dims.nbDims; ++axis) {
        if (dims.d[axis] < 0 && options.batch < 1) {
          fail(std::string(name) + " is dynamic: --batch is needed");
        }
        dims.d[axis] = dims.d[axis] < 0 ? options.batch : dims.d[axis];
      }
      if (input && !context->setInputShape(name, dims)) {
        fail(std::string("the shape of ") + name + " is refused");
      }
      const auto type = engine->getTensorDataType(name);
      const std::size_t elements = std::accumulate(dims.d, dims.d + dims.nbDims, std::size_t{1}, std::multiplies<>());
      const std::size_t bytes = (elements * element_bits(type) + 7) / 8;
      CUdeviceptr address{};
      CUDA(cuMemAlloc, &address, bytes);
      std::vector<unsigned char> values(bytes, 0);
      if (input && type == nvinfer1::DataType::kFLOAT) {
        std::normal_distribution<float> normal;
        auto *const floats = reinterpret_cast<float *>(values.data());
        std::generate_n(floats, elements, [&] { return normal(random); });
      } else if (input && type == nvinfer1::DataType::kHALF) {
        // Numbers from 0.25 to 2, by their bits: sign 0, exponents 13 to 15, any mantissa.
        auto *const halves = reinterpret_cast<std::uint16_t *>(values.data());
        std::generate_n(halves, elements, [&] { return 0x3400 + random() % 0x0c00; });
      } else if (input && type == nvinfer1::DataType::kINT64) {
        // Tokens and masks alike.
        auto *const tokens = reinterpret_cast<std::int64_t *>(values.data());
        std::fill_n(tokens, elements, 1);
      } else if (input && type == nvinfer1::DataType::kINT32) {
        auto *const tokens = reinterpret_cast<std::int32_t *>(values.data());
        std::fill_n(tokens, elements, 1);
      } else if (input) {
        std::fill(values.begin(), values.end(), 1);
      }
      CUDA(cuMemcpyHtoD, address, values.data(), bytes);
      if (!context->setTensorAddress(name, reinterpret_cast<void *>(address))) {
        fail(std::string("the address of ") + name + " is refused");
      }
    }
  };
  bind(true);
  bind(false);

  CUgraphExec waiting{};
  const auto enqueue = [&] {
    if (waiting != nullptr) {
      CUDA(cuGraphLaunch, waiting, stream);
    } else if (!context->enqueueV3(stream)) {
      fail("the engine cannot be enqueued");
    }
  };
  enqueue();
  CUDA(cuStreamSynchronize, stream);
  if (options.wait) {
    CUgraph graph{};
    CUDA(cuStreamBeginCapture, stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    enqueue();
    CUDA(cuStreamEndCapture, stream, &graph);
    wait_for_ends(graph);
    CUDA(cuGraphInstantiate, &waiting, graph, 0ULL);
    enqueue();
    CUDA(cuStreamSynchronize, stream);
  }
  const double first = since(start);
  for (int i = 0; i < options.warm_up; ++i) {
    enqueue();
  }
  CUDA(cuStreamSynchronize, stream);

  std::vector<CUevent> events(static_cast<std::size_t>(options.iterations) + 1);
  for (CUevent &event : events) {
    CUDA(cuEventCreate, &event, CU_EVENT_DEFAULT);
  }
  std::vector<double> host;
  CUDA(cuEventRecord, events[0], stream);
  for (int i = 0; i < options.iterations; ++i) {
    const auto before = std::chrono::steady_clock::now();
    enqueue();
    host.push_back(since(before));
    CUDA(cuEventRecord, events[i + 1], stream);
  }
  CUDA(cuStreamSynchronize, stream);
  std::vector<double> device_times;
  for (int i = 0; i < options.iterations; ++i) {
    float milliseconds = 0;
    CUDA(cuEventElapsedTime, &milliseconds, events[i], events[i + 1]);
    device_times.push_back(milliseconds);
  }
  std::printf("{\"who\":\"%s\",\"device_ms\":%.5f,\"host_ms\":%.5f,\"first_ms\":%.1f,\"iterations\":%d}\n",
              options.wait    ? "raw loop, graph, kernels wait"
              : options.graph ? "raw loop, graph"
                              : "raw loop", median(device_times), median(host), first,
              options.iterations);
  return 0;
}
