//! What other threads' calls do to a capture, and a capture to them. One thread captures again and again, another makes
//! one kind of call. Each case runs in a process of its own, since some of them crash the driver.
//!
//!     nvcc -O1 -arch=sm_90 captures.cu -o captures -lcuda && ./captures
//!
//! Prints for each mode and call how often a capture and the call gave which CUDA error; 0 is none.

#include <cuda.h>
#include <cuda_runtime.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <thread>
#include <vector>

using std::chrono::steady_clock;

namespace {

enum class Mode { global, thread_local_, relaxed, green_context };

constexpr Mode MODES[] = {Mode::global, Mode::thread_local_, Mode::relaxed, Mode::green_context};
constexpr const char *NAMES[] = {"global", "thread-local", "relaxed", "thread-local, green context"};

__global__ void add_one(float *values) { values[threadIdx.x] += 1; }

__global__ void nothing() {}

struct Call {
  const char *name;
  std::function<int()> make;
};

/// What two calls in a row give.
template <typename First, typename Second>
int both(First first, Second second) {
  const int error = first;
  return error != 0 ? error : static_cast<int>(second());
}

cudaStream_t green_stream() {
  CUdevResource all;
  CUdevResourceDesc description;
  CUgreenCtx context;
  CUstream stream;
  cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM);
  cuDevResourceGenerateDesc(&description, &all, 1);
  cuGreenCtxCreate(&context, description, 0, CU_GREEN_CTX_DEFAULT_STREAM);
  cuGreenCtxStreamCreate(&stream, context, CU_STREAM_NON_BLOCKING, 0);
  return stream;
}

/// Memory, streams and a graph for the calls. Never freed: the process ends.
struct Things {
  float *values = nullptr;
  float *pinned = nullptr;
  std::vector<float> pageable = std::vector<float>(1024);
  cudaStream_t own = nullptr;
  cudaStream_t captured = nullptr;
  cudaEvent_t event = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CUcontext context = nullptr;

  explicit Things(Mode mode) {
    cudaSetDevice(0);
    cudaMalloc(&values, 4096);
    cuCtxGetCurrent(&context);
    cudaHostAlloc(reinterpret_cast<void **>(&pinned), 4096, 0);
    cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaStreamBeginCapture(own, cudaStreamCaptureModeThreadLocal);
    add_one<<<1, 32, 0, own>>>(values);
    cudaStreamEndCapture(own, &graph);
    cudaGraphInstantiate(&executable, graph, 0);
    if (mode == Mode::green_context) {
      captured = green_stream();
    } else {
      cudaStreamCreateWithFlags(&captured, cudaStreamNonBlocking);
    }
  }
};

std::vector<Call> calls(Things &t) {
  static const char *const ptx = ".version 8.0\n.target sm_75\n.address_size 64\n.visible .entry empty(){ret;}\n";
  return {
      {"nothing", [] { return 0; }},
      {"cuCtxSynchronize", [] { return static_cast<int>(cuCtxSynchronize()); }},
      {"cudaDeviceSynchronize", [] { return static_cast<int>(cudaDeviceSynchronize()); }},
      {"cudaStreamSynchronize, other stream", [&] { return static_cast<int>(cudaStreamSynchronize(t.own)); }},
      {"cudaStreamSynchronize, legacy stream", [] { return static_cast<int>(cudaStreamSynchronize(nullptr)); }},
      {"cudaMalloc, cudaFree",
       [] {
         void *p = nullptr;
         return both(cudaMalloc(&p, 1 << 20), [&] { return cudaFree(p); });
       }},
      {"cudaMallocAsync, cudaFreeAsync, other stream",
       [&] {
         void *p = nullptr;
         return both(cudaMallocAsync(&p, 1 << 20, t.own), [&] { return cudaFreeAsync(p, t.own); });
       }},
      {"cudaHostAlloc, cudaFreeHost",
       [] {
         void *p = nullptr;
         return both(cudaHostAlloc(&p, 1 << 20, 0), [&] { return cudaFreeHost(p); });
       }},
      {"cudaMemcpy to the device, pageable",
       [&] { return static_cast<int>(cudaMemcpy(t.values, t.pageable.data(), 4096, cudaMemcpyHostToDevice)); }},
      {"cudaMemcpyAsync, pinned, other stream",
       [&] { return static_cast<int>(cudaMemcpyAsync(t.values, t.pinned, 4096, cudaMemcpyHostToDevice, t.own)); }},
      {"kernel, legacy stream",
       [] {
         nothing<<<1, 32>>>();
         return static_cast<int>(cudaGetLastError());
       }},
      {"kernel, other stream",
       [&] {
         nothing<<<1, 32, 0, t.own>>>();
         return static_cast<int>(cudaGetLastError());
       }},
      {"stream created and destroyed",
       [] {
         cudaStream_t s = nullptr;
         return both(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), [&] { return cudaStreamDestroy(s); });
       }},
      {"event created and destroyed",
       [] {
         cudaEvent_t e = nullptr;
         return both(cudaEventCreate(&e), [&] { return cudaEventDestroy(e); });
       }},
      {"event recorded and waited for",
       [&] { return both(cudaEventRecord(t.event, t.own), [&] { return cudaEventSynchronize(t.event); }); }},
      {"module loaded and unloaded",
       [] {
         CUmodule m = nullptr;
         return both(cuModuleLoadData(&m, ptx), [&] { return cuModuleUnload(m); });
       }},
      {"graph launched", [&] { return static_cast<int>(cudaGraphLaunch(t.executable, t.own)); }},
      {"graph instantiated and destroyed",
       [&] {
         cudaGraphExec_t e = nullptr;
         return both(cudaGraphInstantiate(&e, t.graph, 0), [&] { return cudaGraphExecDestroy(e); });
       }},
      {"cudaMemGetInfo",
       [] {
         std::size_t free = 0, total = 0;
         return static_cast<int>(cudaMemGetInfo(&free, &total));
       }},
      {"primary context retained and released",
       [] {
         CUcontext c = nullptr;
         return both(cuDevicePrimaryCtxRetain(&c, 0), [] { return cuDevicePrimaryCtxRelease(0); });
       }},
  };
}

void print(const char *what, const std::map<int, int> &errors) {
  std::printf("  %s", what);
  for (const auto &[error, count] : errors) {
    std::printf(" %d:%d", error, count);
  }
}

/// One case, for 0.2 s. False when there is no such call.
bool run(Mode mode, std::size_t which) {
  Things things(mode);
  const std::vector<Call> all = calls(things);
  if (which >= all.size()) {
    return false;
  }
  std::atomic<bool> over{false};
  std::map<int, int> theirs, ours;
  std::thread other([&] {
    cuCtxSetCurrent(things.context);
    while (!over) {
      theirs[all[which].make()]++;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  const auto capture_mode = mode == Mode::global    ? cudaStreamCaptureModeGlobal
                            : mode == Mode::relaxed ? cudaStreamCaptureModeRelaxed
                                                    : cudaStreamCaptureModeThreadLocal;
  const auto end = steady_clock::now() + std::chrono::milliseconds(200);
  while (steady_clock::now() < end) {
    cudaGraph_t graph = nullptr;
    cudaStreamBeginCapture(things.captured, capture_mode);
    for (int i = 0; i < 60; ++i) {
      add_one<<<1, 32, 0, things.captured>>>(things.values);
    }
    ours[cudaStreamEndCapture(things.captured, &graph)]++;
    cudaGetLastError();
    if (graph != nullptr) {
      cudaGraphDestroy(graph);
    }
  }
  over = true;
  other.join();
  std::printf("%-28s %-44s", NAMES[static_cast<int>(mode)], all[which].name);
  print("captures", ours);
  print("calls", theirs);
  std::printf("\n");
  return true;
}

} // namespace

int main() {
  constexpr int no_such_call = 9;
  for (const Mode mode : MODES) {
    for (std::size_t which = 0;; ++which) {
      std::fflush(stdout);
      const pid_t child = fork();
      if (child == 0) {
        alarm(10);
        const bool ran = run(mode, which);
        std::fflush(stdout);
        _exit(ran ? 0 : no_such_call);
      }
      int status = 0;
      waitpid(child, &status, 0);
      if (WIFEXITED(status) && WEXITSTATUS(status) == no_such_call) {
        break;
      }
      if (WIFSIGNALED(status)) {
        std::printf("%-28s call %zu: signal %d\n", NAMES[static_cast<int>(mode)], which, WTERMSIG(status));
      }
    }
  }
}
