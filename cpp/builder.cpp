//! ONNX bytes and weights in, a plan out.

#include <stdexcept>

#include "objects.h"

namespace accelerant::ACCELERANT_FLAVOR {

namespace {

/// Hands TensorRT's progress to Rust, which may stop the build.
class Monitor final : public nvinfer1::IProgressMonitor {
public:
  explicit Monitor(const Progress &progress) noexcept : progress_(progress) {}

  void phaseStart(const char *phase, const char *parent, std::int32_t steps) noexcept override {
    progress_.phase_started(text(phase), text(parent), steps);
  }

  bool stepComplete(const char *phase, std::int32_t step) noexcept override {
    return progress_.step_finished(text(phase), step);
  }

  void phaseFinish(const char *phase) noexcept override { progress_.phase_finished(text(phase)); }

private:
  static rust::String text(const char *name) noexcept {
    return rust::String::lossy(name != nullptr ? name : "");
  }

  const Progress &progress_;
};

class NetworkBuilder final : public Builder {
public:
  explicit NetworkBuilder(std::shared_ptr<const LoadedLibrary> library) : library_(std::move(library)) {
    Errors errors;
    builder_.reset(static_cast<nvinfer1::IBuilder *>(
        library_->create_infer_builder(&logger(), NV_TENSORRT_VERSION)));
    if (!builder_) {
      errors.fail("the builder cannot be created");
    }
    // Both flavors are strongly typed without being asked.
    network_.reset(builder_->createNetworkV2(0));
    config_.reset(builder_->createBuilderConfig());
    if (!network_ || !config_) {
      errors.fail("the network cannot be created");
    }
    parser_.reset(static_cast<nvonnxparser::IParser *>(
        library_->create_onnx_parser(network_.get(), &logger(), NV_ONNX_PARSER_VERSION)));
    if (!parser_) {
      errors.fail("the ONNX parser cannot be created");
    }
  }

  void load_model(rust::Slice<const std::uint8_t> model) override { load_model_into(*parser_, model); }

  void load_weights(rust::Str name, const std::uint8_t *data, std::size_t size) override {
    load_weights_into(*parser_, name, data, size);
  }

  void parse() override {
    Errors errors;
    if (!parser_->parseModelProto()) {
      errors.fail("the model cannot be parsed");
    }
  }

  rust::Vec<ParserError> parser_errors() const override {
    return errors_of(*parser_);
  }

  rust::Vec<TensorInfo> tensors() const override {
    rust::Vec<TensorInfo> all;
    for (std::int32_t i = 0; i < network_->getNbInputs(); ++i) {
      all.push_back(info(*network_->getInput(i), true));
    }
    for (std::int32_t i = 0; i < network_->getNbOutputs(); ++i) {
      all.push_back(info(*network_->getOutput(i), false));
    }
    return all;
  }

  void add_profile(rust::Slice<const ProfileShape> shapes) override {
    using Select = nvinfer1::OptProfileSelector;
    Errors errors;
    nvinfer1::IOptimizationProfile *profile = builder_->createOptimizationProfile();
    if (profile == nullptr) {
      errors.fail("the optimization profile cannot be created");
    }
    for (const ProfileShape &shape : shapes) {
      const std::string name(shape.name);
      const auto set = [&](Select select, const rust::Vec<std::int64_t> &numbers) {
        if (shape.of_values) {
          return profile->setShapeValuesV2(name.c_str(), select, numbers.data(),
                                           static_cast<std::int32_t>(numbers.size()));
        }
        return profile->setDimensions(name.c_str(), select, to_dims(numbers.data(), numbers.size()));
      };
      if (!set(Select::kMIN, shape.min) || !set(Select::kOPT, shape.opt) || !set(Select::kMAX, shape.max)) {
        errors.fail("the optimization profile does not take input `" + name + "`");
      }
    }
    if (!profile->isValid() || config_->addOptimizationProfile(profile) < 0) {
      errors.fail("the optimization profile is not valid");
    }
  }

  std::unique_ptr<HostMemory> build(const BuildOptions &options, const Progress &progress) override {
    Errors errors;
    configure(options, errors);
    Monitor monitor(progress);
    config_->setProgressMonitor(&monitor);
    nvinfer1::IHostMemory *plan = builder_->buildSerializedNetwork(*network_, *config_);
    config_->setProgressMonitor(nullptr);
    if (plan == nullptr) {
      errors.fail("the engine cannot be built");
    }
    return std::make_unique<OwnedMemory>(plan);
  }

  std::unique_ptr<HostMemory> timing_cache(rust::Slice<const std::uint8_t> others) const override {
    if (!timing_cache_) {
      return nullptr;
    }
    if (!others.empty()) {
      const std::unique_ptr<nvinfer1::ITimingCache> more(config_->createTimingCache(others.data(), others.size()));
      if (more) {
        timing_cache_->combine(*more, false);
      }
    }
    nvinfer1::IHostMemory *bytes = timing_cache_->serialize();
    return bytes != nullptr ? std::make_unique<OwnedMemory>(bytes) : nullptr;
  }

private:
  static TensorInfo info(const nvinfer1::ITensor &tensor, bool input) {
    TensorInfo told;
    told.name = text_or_empty(tensor.getName());
    told.input = input;
    told.dtype = static_cast<std::int32_t>(tensor.getType());
    told.dims = from_dims(tensor.getDimensions());
    told.on_host = tensor.isShapeTensor();
    return told;
  }

  void configure(const BuildOptions &options, const Errors &errors) {
    if (options.workspace > 0) {
      config_->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, options.workspace);
    }
    if (options.optimization_level >= 0) {
      config_->setBuilderOptimizationLevel(options.optimization_level);
    }
    if (options.aux_streams >= 0 && !config_->setMaxAuxStreams(options.aux_streams)) {
      errors.fail("auxiliary streams: " + std::to_string(options.aux_streams) + " is refused");
    }
    if (options.tf32) {
      config_->setFlag(nvinfer1::BuilderFlag::kTF32);
    } else {
      config_->clearFlag(nvinfer1::BuilderFlag::kTF32);
    }
    if (options.refit) {
      config_->setFlag(nvinfer1::BuilderFlag::kREFIT);
    }
    if (options.weight_streaming) {
      config_->setFlag(nvinfer1::BuilderFlag::kWEIGHT_STREAMING);
    }
    if (options.detailed) {
      config_->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
    }
    set_compute_capabilities(options, errors);
    if (options.use_timing_cache) {
      set_timing_cache(options);
    }
  }

  void set_compute_capabilities(const BuildOptions &options, const Errors &errors) {
    const auto count = static_cast<std::int32_t>(options.compute_capabilities.size());
    if (count == 0) {
      return;
    }
#ifdef ACCELERANT_IS_RTX
    if (!config_->setNbComputeCapabilities(count)) {
      errors.fail("the library does not take " + std::to_string(count) + " compute capabilities");
    }
    for (std::int32_t i = 0; i < count; ++i) {
      const std::int32_t capability = options.compute_capabilities[i];
      if (!config_->setComputeCapability(static_cast<nvinfer1::ComputeCapability>(capability), i)) {
        errors.fail("compute capability " + std::to_string(capability) + " is refused");
      }
    }
#else
    errors.fail("this flavor builds for the device at hand and takes no compute capabilities");
#endif
  }

  void set_timing_cache(const BuildOptions &options) {
    const auto &bytes = options.timing_cache;
    timing_cache_.reset(config_->createTimingCache(bytes.data(), bytes.size()));
    const auto taken = [&] { return timing_cache_ && config_->setTimingCache(*timing_cache_, false); };
    if (!taken() && !bytes.empty()) {
      // A cache of another version or device: start afresh.
      timing_cache_.reset(config_->createTimingCache(nullptr, 0));
      taken();
    }
  }

  // Destroyed from the last to the first. TensorRT wants a timing cache to outlive the builder.
  std::shared_ptr<const LoadedLibrary> library_;
  std::unique_ptr<nvinfer1::ITimingCache> timing_cache_;
  std::unique_ptr<nvinfer1::IBuilder> builder_;
  std::unique_ptr<nvinfer1::INetworkDefinition> network_;
  std::unique_ptr<nvinfer1::IBuilderConfig> config_;
  std::unique_ptr<nvonnxparser::IParser> parser_;
};

} // namespace

std::unique_ptr<Builder> make_builder(std::shared_ptr<const LoadedLibrary> library) {
  return std::make_unique<NetworkBuilder>(std::move(library));
}

} // namespace accelerant::ACCELERANT_FLAVOR
