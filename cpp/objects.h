//! What the implementation files of one flavor share: the loaded library, and small helpers.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include "accelerant/cpp/api.h"
#include "accelerant/src/backend/tensorrt/ffi/bridge.rs.h"
#include "log.h"

namespace accelerant::ACCELERANT_FLAVOR {

/// The C entry points, all that is taken from the libraries by name.
class LoadedLibrary final : public Library, public std::enable_shared_from_this<LoadedLibrary> {
public:
  LoadedLibrary(const std::string &core, const std::string &parser);

  rust::String path() const override;
  Version version() const noexcept override;
  rust::String builder_problem() const override;
  std::unique_ptr<Builder> create_builder() const override;
  std::shared_ptr<Runtime> create_runtime() const override;

  decltype(&createInferBuilder_INTERNAL) create_infer_builder = nullptr;
  decltype(&createInferRuntime_INTERNAL) create_infer_runtime = nullptr;
  decltype(&createNvOnnxParser_INTERNAL) create_onnx_parser = nullptr;

private:
  Version version_;
  std::string builder_problem_;
};

std::unique_ptr<Builder> make_builder(std::shared_ptr<const LoadedLibrary> library);
std::shared_ptr<Runtime> make_runtime(std::shared_ptr<const LoadedLibrary> library);

/// Owns what TensorRT allocated.
class OwnedMemory final : public HostMemory {
public:
  explicit OwnedMemory(nvinfer1::IHostMemory *memory) noexcept : memory_(memory) {}

  rust::Slice<const std::uint8_t> bytes() const noexcept override {
    return {static_cast<const std::uint8_t *>(memory_->data()), memory_->size()};
  }

private:
  std::unique_ptr<nvinfer1::IHostMemory> memory_;
};

/// TensorRT's form of a shape; throws when it has too many dimensions.
nvinfer1::Dims to_dims(const std::int64_t *sizes, std::size_t rank);

/// The sizes of a shape; none when its rank is unknown.
rust::Vec<std::int64_t> from_dims(const nvinfer1::Dims &dims);

} // namespace accelerant::ACCELERANT_FLAVOR
