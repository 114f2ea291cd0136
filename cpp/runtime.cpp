//! A plan in, engines and contexts out.

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "objects.h"

namespace accelerant::ACCELERANT_FLAVOR {

namespace {

cudaStream_t to_stream(std::size_t stream) noexcept { return reinterpret_cast<cudaStream_t>(stream); }

/// The most elements of an input whose values decide shapes.
constexpr std::size_t MOST_VALUES = 64;

/// The values of such an input, where TensorRT reads them.
struct alignas(256) Values {
  std::int64_t wide[MOST_VALUES];
  std::int32_t narrow[MOST_VALUES];
};

/// How many elements a tensor of fixed size has.
std::size_t count(const nvinfer1::Dims &dims) {
  std::size_t count = 1;
  for (std::int32_t i = 0; i < dims.nbDims; ++i) {
    count *= static_cast<std::size_t>(std::max<std::int64_t>(dims.d[i], 0));
  }
  return count;
}

/// Hands TensorRT memory for an output whose shape is computed, and its shape to Rust.
class ComputedOutput final : public nvinfer1::IOutputAllocator {
public:
  explicit ComputedOutput(std::size_t place) noexcept : place_(place) {}

  /// Where the next execution's output goes; null after it.
  void give(OutputMemory *memory) noexcept { memory_ = memory; }

  void *reallocateOutputAsync(const char *, void *, std::uint64_t size, std::uint64_t alignment,
                              cudaStream_t) override {
    return memory_ != nullptr ? reinterpret_cast<void *>(memory_->reserve(place_, size, alignment)) : nullptr;
  }

  void notifyShape(const char *, const nvinfer1::Dims &dims) noexcept override {
    if (memory_ != nullptr) {
      memory_->shape_known(place_, {dims.d, static_cast<std::size_t>(std::max(dims.nbDims, 0))});
    }
  }

private:
  std::size_t place_;
  OutputMemory *memory_ = nullptr;
};

/// With a profiler TensorRT records an event before each kernel, behind which a kernel cannot start early.
class Timer final : public nvinfer1::IProfiler {
public:
  void reportLayerTime(const char *, float) noexcept override {}
};

/// Keeps what it is told.
class KeepingTimer final : public nvinfer1::IProfiler {
public:
  void reportLayerTime(const char *name, float ms) noexcept override {
    try {
      LayerTime time;
      time.name = text_or_empty(name);
      time.ms = ms;
      times_.push_back(std::move(time));
    } catch (...) {
      // A time that finds no memory is missing.
    }
  }

  rust::Vec<LayerTime> take() noexcept { return std::exchange(times_, {}); }

private:
  rust::Vec<LayerTime> times_;
};

class LoadedRuntime final : public Runtime, public std::enable_shared_from_this<LoadedRuntime> {
public:
  explicit LoadedRuntime(std::shared_ptr<const LoadedLibrary> library) : library_(std::move(library)) {
    Errors errors;
    runtime_.reset(static_cast<nvinfer1::IRuntime *>(
        library_->create_infer_runtime(&logger(), NV_TENSORRT_VERSION)));
    if (!runtime_) {
      errors.fail("the runtime cannot be created");
    }
  }

  std::uint64_t invalidity(rust::Slice<const std::uint8_t> plan) const override;
  std::shared_ptr<Engine> deserialize(rust::Slice<const std::uint8_t> plan) const override;

  const std::shared_ptr<const LoadedLibrary> &library() const noexcept { return library_; }

private:
  std::shared_ptr<const LoadedLibrary> library_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  mutable std::mutex mutex_;
};

class LoadedEngine final : public Engine, public std::enable_shared_from_this<LoadedEngine> {
public:
  LoadedEngine(std::shared_ptr<const LoadedRuntime> runtime, nvinfer1::ICudaEngine *engine)
      : runtime_(std::move(runtime)), engine_(engine) {}

  rust::Vec<TensorInfo> tensors() const override {
    rust::Vec<TensorInfo> all;
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
      const char *name = engine_->getIOTensorName(i);
      TensorInfo told;
      told.name = text_or_empty(name);
      told.input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
      told.dtype = static_cast<std::int32_t>(engine_->getTensorDataType(name));
      told.dims = from_dims(engine_->getTensorShape(name));
      told.on_host = engine_->getTensorLocation(name) == nvinfer1::TensorLocation::kHOST;
      told.aliased = told.input ? "" : text_or_empty(engine_->getAliasedInputTensor(name));
      all.push_back(std::move(told));
    }
    return all;
  }

  std::int32_t profile_count() const noexcept override { return engine_->getNbOptimizationProfiles(); }

  ProfileShape profile_shape(rust::Str input, std::int32_t profile, bool of_values) const override {
    using Select = nvinfer1::OptProfileSelector;
    Errors errors;
    const std::string name(input);
    const auto get = [&](Select select) {
      if (of_values) {
        const std::int64_t *values = engine_->getProfileTensorValuesV2(name.c_str(), profile, select);
        const std::size_t size = count(engine_->getTensorShape(name.c_str()));
        if (values == nullptr) {
          errors.fail("no profile " + std::to_string(profile) + " for the values of input `" + name + "`");
        }
        rust::Vec<std::int64_t> all;
        std::for_each(values, values + size, [&](std::int64_t value) { all.push_back(value); });
        return all;
      }
      const nvinfer1::Dims dims = engine_->getProfileShape(name.c_str(), profile, select);
      if (dims.nbDims < 0) {
        errors.fail("no profile " + std::to_string(profile) + " for input `" + name + "`");
      }
      return from_dims(dims);
    };
    ProfileShape shape;
    shape.name = rust::String(input.data(), input.size());
    shape.of_values = of_values;
    shape.min = get(Select::kMIN);
    shape.opt = get(Select::kOPT);
    shape.max = get(Select::kMAX);
    return shape;
  }

  std::int64_t device_memory_size() const noexcept override { return engine_->getDeviceMemorySizeV2(); }

  std::int64_t weights_size() const noexcept override {
    return engine_->getEngineStat(nvinfer1::EngineStat::kTOTAL_WEIGHTS_SIZE);
  }

  rust::String layer_information() const override {
    Errors errors;
    const std::unique_ptr<nvinfer1::IEngineInspector> inspector(engine_->createEngineInspector());
    if (!inspector) {
      errors.fail("the engine cannot be inspected");
    }
    return text_or_empty(inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON));
  }

  bool is_refittable() const noexcept override { return engine_->isRefittable(); }
  std::unique_ptr<Refitter> create_refitter() const override;

  std::unique_ptr<HostMemory> serialize() const override {
    Errors errors;
    const std::lock_guard lock(mutex_);
    nvinfer1::IHostMemory *plan = engine_->serialize();
    if (plan == nullptr) {
      errors.fail("the engine cannot be serialized");
    }
    return std::make_unique<OwnedMemory>(plan);
  }

  std::int64_t streamable_weights() const noexcept override { return engine_->getStreamableWeightsSize(); }

  void set_weight_budget(std::int64_t bytes) const override {
    Errors errors;
    const std::lock_guard lock(mutex_);
    if (!engine_->setWeightStreamingBudgetV2(bytes)) {
      errors.fail("a budget of " + std::to_string(bytes) + " bytes for weights is refused");
    }
  }

  std::unique_ptr<Context> create_context(const ContextOptions &options) const override;
  std::unique_ptr<HostMemory> merge_kernels(rust::Slice<const std::uint8_t> kept,
                                            rust::Slice<const std::uint8_t> compiled) const override;

private:
  std::shared_ptr<const LoadedRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  mutable std::mutex mutex_;
};

/// What must outlive a context, destroyed in the order of need.
struct ContextParts {
  std::shared_ptr<const LoadedEngine> engine;
#ifdef ACCELERANT_IS_RTX
  std::unique_ptr<nvinfer1::IRuntimeCache> cache;
  std::unique_ptr<nvinfer1::IRuntimeConfig> config;
#endif
  std::unique_ptr<nvinfer1::IExecutionContext> context;
};

class LoadedContext final : public Context {
public:
  LoadedContext(ContextParts parts, const ContextOptions &options) : parts_(std::move(parts)) {
    tensors_.reserve(options.tensors.size());
    const nvinfer1::ICudaEngine &engine = parts_.context->getEngine();
    inputs_ = options.inputs;
    for (const rust::String &name : options.tensors) {
      const std::string text(name);
      const nvinfer1::Dims dims = engine.getTensorShape(text.c_str());
      Tensor tensor{text, dims.nbDims, unknown(), 0, 0, nullptr, nullptr};
      const bool on_host = engine.getTensorLocation(text.c_str()) == nvinfer1::TensorLocation::kHOST;
      if (on_host && tensors_.size() < inputs_) {
        tensor.count = count(dims);
        tensor.values = std::make_unique<Values>();
      }
      tensors_.push_back(std::move(tensor));
    }
  }

  void set_profile(std::int32_t index, std::size_t stream) override {
    Errors errors;
    for (Tensor &tensor : tensors_) {
      tensor.dims = unknown();
      tensor.address = 0;
      set_computed(tensor, 0, false);
    }
    if (!parts_.context->setOptimizationProfileAsync(index, to_stream(stream))) {
      errors.fail("optimization profile " + std::to_string(index) + " is refused");
    }
  }

  void set_serial() override {
    // Never destroyed: a context may outlive what is static. Times are told at each execution, or they pile up.
    static Timer *const timer = new Timer;
    parts_.context->setProfiler(timer);
  }

  void set_timed() override {
    timer_ = std::make_unique<KeepingTimer>();
    parts_.context->setProfiler(timer_.get());
  }

  rust::Vec<LayerTime> take_times() override { return timer_ ? timer_->take() : rust::Vec<LayerTime>(); }

  void set_shapes(rust::Slice<const std::int64_t> inputs, rust::Slice<const std::int64_t> values,
                  rust::Slice<std::int64_t> outputs) override {
    Errors errors;
    if (inputs.size() != sizes(0, inputs_) || outputs.size() != sizes(inputs_, tensors_.size())) {
      errors.fail("the number of sizes is not that of the engine");
    }
    const std::int64_t *next = inputs.data();
    for (std::size_t i = 0; i < inputs_; ++i) {
      Tensor &tensor = tensors_[i];
      const nvinfer1::Dims dims = to_dims(next, static_cast<std::size_t>(tensor.rank));
      next += tensor.rank;
      if (same(dims, tensor.dims)) {
        continue;
      }
      tensor.dims = unknown();
      if (!parts_.context->setInputShape(tensor.name.c_str(), dims)) {
        errors.fail("the shape of input `" + tensor.name + "` is refused");
      }
      tensor.dims = dims;
    }
    set_values(values, errors);
    const char *missing = nullptr;
    if (parts_.context->inferShapes(1, &missing) != 0) {
      errors.fail(missing != nullptr ? "the shape of `" + std::string(missing) + "` is not set"
                                     : "the shapes of the outputs cannot be inferred");
    }
    std::int64_t *told = outputs.data();
    for (std::size_t i = inputs_; i < tensors_.size(); ++i) {
      Tensor &tensor = tensors_[i];
      const nvinfer1::Dims dims = parts_.context->getTensorShape(tensor.name.c_str());
      if (dims.nbDims != tensor.rank) {
        errors.fail("the shape of output `" + tensor.name + "` is not known");
      }
      set_computed(tensor, i - inputs_, std::any_of(dims.d, dims.d + dims.nbDims, [](auto d) { return d < 0; }));
      told = std::copy_n(dims.d, dims.nbDims, told);
    }
  }

  void enqueue(rust::Slice<const std::uint64_t> addresses, OutputMemory &computed, std::size_t stream) override {
    Errors errors;
    if (addresses.size() != tensors_.size()) {
      errors.fail("the number of addresses is not that of the engine");
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      Tensor &tensor = tensors_[i];
      if (tensor.values || tensor.computed || addresses[i] == tensor.address) {
        continue;
      }
      tensor.address = 0;
      if (!parts_.context->setTensorAddress(tensor.name.c_str(), reinterpret_cast<void *>(addresses[i]))) {
        errors.fail("the address of tensor `" + tensor.name + "` is refused");
      }
      tensor.address = addresses[i];
    }
    give_to_computed(&computed);
    const bool enqueued = parts_.context->enqueueV3(to_stream(stream));
    give_to_computed(nullptr);
    if (!enqueued) {
      errors.fail("the engine cannot be enqueued");
    }
  }

  std::unique_ptr<HostMemory> finish() override {
    // First the context: its threads may be compiling still.
    parts_.context.reset();
    return kernels();
  }

  std::unique_ptr<HostMemory> kernels() const override {
#ifdef ACCELERANT_IS_RTX
    nvinfer1::IHostMemory *bytes = parts_.cache ? parts_.cache->serialize() : nullptr;
    return bytes != nullptr ? std::make_unique<OwnedMemory>(bytes) : nullptr;
#else
    return nullptr;
#endif
  }

private:
  /// A tensor, and what the context was told of it.
  struct Tensor {
    std::string name;
    std::int32_t rank;
    nvinfer1::Dims dims;
    std::uint64_t address;
    /// For an input that decides shapes, how many values, and where they are.
    std::size_t count;
    std::unique_ptr<Values> values;
    /// For an output whose shape is computed.
    std::unique_ptr<ComputedOutput> computed;
  };

  void set_computed(Tensor &tensor, std::size_t place, bool is_computed) {
    if (is_computed == static_cast<bool>(tensor.computed)) {
      return;
    }
    auto allocator = is_computed ? std::make_unique<ComputedOutput>(place) : nullptr;
    Errors errors;
    const char *name = tensor.name.c_str();
    // Its address is forgotten, so that the allocator is asked.
    const bool forgotten = tensor.address == 0 || parts_.context->setTensorAddress(name, nullptr);
    tensor.address = 0;
    if (!forgotten || !parts_.context->setOutputAllocator(name, allocator.get())) {
      errors.fail("the memory of output `" + tensor.name + "` is refused");
    }
    tensor.computed = std::move(allocator);
  }

  void give_to_computed(OutputMemory *memory) noexcept {
    for (Tensor &tensor : tensors_) {
      if (tensor.computed) {
        tensor.computed->give(memory);
      }
    }
  }

  void set_values(rust::Slice<const std::int64_t> values, const Errors &errors) {
    const std::int64_t *next = values.data();
    const std::int64_t *const end = next + values.size();
    for (std::size_t i = 0; i < inputs_; ++i) {
      Tensor &tensor = tensors_[i];
      if (!tensor.values) {
        continue;
      }
      if (tensor.count > MOST_VALUES || static_cast<std::size_t>(end - next) < tensor.count) {
        errors.fail("the number of values of input `" + tensor.name + "` is not that of the engine");
      }
      std::copy_n(next, tensor.count, tensor.values->wide);
      std::transform(next, next + tensor.count, tensor.values->narrow,
                     [](std::int64_t value) { return static_cast<std::int32_t>(value); });
      next += tensor.count;
      const char *name = tensor.name.c_str();
      const bool narrow = parts_.context->getEngine().getTensorDataType(name) == nvinfer1::DataType::kINT32;
      void *address = narrow ? static_cast<void *>(tensor.values->narrow) : tensor.values->wide;
      if (!parts_.context->setTensorAddress(name, address)) {
        errors.fail("the values of input `" + tensor.name + "` are refused");
      }
    }
  }

  static nvinfer1::Dims unknown() noexcept {
    nvinfer1::Dims dims{};
    dims.nbDims = -1;
    return dims;
  }

  static bool same(const nvinfer1::Dims &one, const nvinfer1::Dims &other) noexcept {
    return one.nbDims == other.nbDims && std::equal(one.d, one.d + std::max(one.nbDims, 0), other.d);
  }

  /// How many sizes the tensors of a range have together.
  std::size_t sizes(std::size_t first, std::size_t end) const noexcept {
    std::size_t count = 0;
    for (std::size_t i = first; i < end; ++i) {
      count += static_cast<std::size_t>(std::max(tensors_[i].rank, 0));
    }
    return count;
  }

  // The context goes before what it was told to use.
  std::unique_ptr<KeepingTimer> timer_;
  std::vector<Tensor> tensors_;
  ContextParts parts_;
  std::size_t inputs_ = 0;
};

std::uint64_t LoadedRuntime::invalidity(rust::Slice<const std::uint8_t> plan) const {
#ifdef ACCELERANT_IS_RTX
  using Why = nvinfer1::EngineInvalidityDiagnostics;
  const std::lock_guard lock(mutex_);
  if (static_cast<std::int64_t>(plan.size()) < runtime_->getEngineHeaderSize()) {
    return static_cast<std::uint64_t>(Why::kMALFORMED_ENGINE);
  }
  std::uint64_t why = 0;
  runtime_->getEngineValidity(plan.data(), static_cast<std::int64_t>(plan.size()), &why);
  return why;
#else
  static_cast<void>(plan);
  return 0;
#endif
}

std::unique_ptr<Context> LoadedEngine::create_context(const ContextOptions &options) const {
  Errors errors;
  const std::lock_guard lock(mutex_);
  ContextParts parts;
  parts.engine = shared_from_this();
#ifdef ACCELERANT_IS_RTX
  using Specialization = nvinfer1::DynamicShapesKernelSpecializationStrategy;
  parts.config.reset(engine_->createRuntimeConfig());
  if (!parts.config) {
    errors.fail("the runtime configuration cannot be created");
  }
  // Its own graphs are updated whenever an address changes, at the cost of a capture.
  if (!parts.config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kDISABLED)) {
    errors.fail("the CUDA graph strategy is refused");
  }
  using Allocation = nvinfer1::ExecutionContextAllocationStrategy;
  if (options.user_scratch) {
    parts.config->setExecutionContextAllocationStrategy(Allocation::kUSER_MANAGED);
  }
  if (options.eager) {
    parts.config->setDynamicShapesKernelSpecializationStrategy(Specialization::kEAGER);
  }
  if (options.use_runtime_cache) {
    // One for each context: TensorRT-RTX 1.6 crashes when contexts that run at the same time share
    // a cache.
    parts.cache.reset(parts.config->createRuntimeCache());
    if (!parts.cache || !parts.config->setRuntimeCache(*parts.cache)) {
      errors.fail("the runtime cache cannot be created");
    }
    const auto &kept = options.runtime_cache;
    if (!kept.empty() && !parts.cache->deserialize(kept.data(), kept.size())) {
      logger().log(nvinfer1::ILogger::Severity::kWARNING, "the kernels kept do not fit, they are compiled anew");
    }
  }
  parts.context.reset(engine_->createExecutionContext(parts.config.get()));
#else
  using Allocation = nvinfer1::ExecutionContextAllocationStrategy;
  parts.context.reset(engine_->createExecutionContext(options.user_scratch ? Allocation::kUSER_MANAGED
                                                                           : Allocation::kSTATIC));
#endif
  if (!parts.context) {
    errors.fail("the execution context cannot be created");
  }
  if (options.layer_ranges >= 0 &&
      !parts.context->setNvtxVerbosity(static_cast<nvinfer1::ProfilingVerbosity>(options.layer_ranges))) {
    errors.fail("the engine was built to tell less of its layers than `layer_ranges` asks for");
  }
  if (options.user_scratch) {
    parts.context->setDeviceMemoryV2(reinterpret_cast<void *>(options.scratch),
                                     static_cast<std::int64_t>(options.scratch_size));
  }
  return std::make_unique<LoadedContext>(std::move(parts), options);
}

std::unique_ptr<Refitter> LoadedEngine::create_refitter() const {
  return make_refitter(runtime_->library(), shared_from_this(), *engine_);
}

std::unique_ptr<HostMemory> LoadedEngine::merge_kernels(rust::Slice<const std::uint8_t> kept,
                                                        rust::Slice<const std::uint8_t> compiled) const {
#ifdef ACCELERANT_IS_RTX
  Errors errors;
  const std::lock_guard lock(mutex_);
  const std::unique_ptr<nvinfer1::IRuntimeConfig> config(engine_->createRuntimeConfig());
  const std::unique_ptr<nvinfer1::IRuntimeCache> both(config ? config->createRuntimeCache() : nullptr);
  if (!both) {
    errors.fail("the runtime cache cannot be created");
  }
  if (!both->deserialize(kept.data(), kept.size())) {
    return nullptr;
  }
  nvinfer1::IHostMemory *bytes =
      both->deserialize(compiled.data(), compiled.size()) ? both->serialize() : nullptr;
  if (bytes == nullptr) {
    errors.fail("the kernels cannot be merged");
  }
  return std::make_unique<OwnedMemory>(bytes);
#else
  static_cast<void>(kept);
  static_cast<void>(compiled);
  return nullptr;
#endif
}

std::shared_ptr<Engine> LoadedRuntime::deserialize(rust::Slice<const std::uint8_t> plan) const {
  Errors errors;
  const std::lock_guard lock(mutex_);
  nvinfer1::ICudaEngine *engine = runtime_->deserializeCudaEngine(plan.data(), plan.size());
  if (engine == nullptr) {
    errors.fail("the engine cannot be deserialized");
  }
  return std::make_shared<LoadedEngine>(shared_from_this(), engine);
}

} // namespace

std::shared_ptr<Runtime> make_runtime(std::shared_ptr<const LoadedLibrary> library) {
  return std::make_shared<LoadedRuntime>(std::move(library));
}

} // namespace accelerant::ACCELERANT_FLAVOR
