//! Loads the libraries and resolves their C entry points.

#include <dlfcn.h>

#include <stdexcept>

#include "objects.h"

namespace accelerant::ACCELERANT_FLAVOR {

namespace {

std::string last_error() {
  const char *text = dlerror();
  return text != nullptr ? text : "no reason given";
}

void *open(const std::string &path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }

template <typename Function>
void resolve(void *library, const char *name, Function &function) noexcept {
  function = reinterpret_cast<Function>(dlsym(library, name));
}

std::uint32_t part(void *library, const char *name) {
  decltype(&getInferLibMajorVersion) function = nullptr;
  resolve(library, name, function);
  if (function == nullptr) {
    throw std::runtime_error(std::string("not a TensorRT library: no symbol ") + name);
  }
  return static_cast<std::uint32_t>(function());
}

} // namespace

LoadedLibrary::LoadedLibrary(const std::string &core, const std::string &parser) {
  void *library = open(core);
  if (library == nullptr) {
    throw std::runtime_error(last_error());
  }
  version_ = Version{part(library, "getInferLibMajorVersion"), part(library, "getInferLibMinorVersion"),
                     part(library, "getInferLibPatchVersion"), part(library, "getInferLibBuildVersion")};
  resolve(library, "createInferRuntime_INTERNAL", create_infer_runtime);
  if (create_infer_runtime == nullptr) {
    throw std::runtime_error("not a TensorRT runtime: no symbol createInferRuntime_INTERNAL");
  }
  resolve(library, "createInferBuilder_INTERNAL", create_infer_builder);
  resolve(library, "createInferRefitter_INTERNAL", create_infer_refitter);
  if (create_infer_builder == nullptr) {
    builder_problem_ = core + " is a runtime without a builder";
    return;
  }
  void *onnx = open(parser);
  if (onnx == nullptr) {
    builder_problem_ = "no ONNX parser: " + last_error();
    return;
  }
  resolve(onnx, "createNvOnnxParserRefitter_INTERNAL", create_onnx_refitter);
  resolve(onnx, "createNvOnnxParser_INTERNAL", create_onnx_parser);
  if (create_onnx_parser == nullptr) {
    builder_problem_ = parser + " is no ONNX parser: no symbol createNvOnnxParser_INTERNAL";
  }
}

rust::String LoadedLibrary::path() const {
  Dl_info info{};
  const auto *symbol = reinterpret_cast<const void *>(create_infer_runtime);
  if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  return rust::String::lossy(info.dli_fname);
}

Version LoadedLibrary::version() const noexcept { return version_; }

rust::String LoadedLibrary::builder_problem() const { return rust::String::lossy(builder_problem_); }

std::unique_ptr<Builder> LoadedLibrary::create_builder() const {
  if (!builder_problem_.empty()) {
    throw std::runtime_error(builder_problem_);
  }
  return make_builder(shared_from_this());
}

std::shared_ptr<Runtime> LoadedLibrary::create_runtime() const { return make_runtime(shared_from_this()); }

nvinfer1::Dims to_dims(const std::int64_t *sizes, std::size_t rank) {
  nvinfer1::Dims dims{};
  if (rank > static_cast<std::size_t>(nvinfer1::Dims::MAX_DIMS)) {
    throw std::runtime_error("rank " + std::to_string(rank) + " is above TensorRT's limit of " +
                             std::to_string(nvinfer1::Dims::MAX_DIMS));
  }
  dims.nbDims = static_cast<std::int32_t>(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    dims.d[i] = sizes[i];
  }
  return dims;
}

rust::Vec<std::int64_t> from_dims(const nvinfer1::Dims &dims) {
  rust::Vec<std::int64_t> sizes;
  for (std::int32_t i = 0; i < dims.nbDims; ++i) {
    sizes.push_back(dims.d[i]);
  }
  return sizes;
}

std::shared_ptr<Library> open_library(const std::string &core, const std::string &parser) {
  return std::make_shared<LoadedLibrary>(core, parser);
}

Version header_version() noexcept {
  return Version{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, NV_TENSORRT_BUILD};
}

} // namespace accelerant::ACCELERANT_FLAVOR
