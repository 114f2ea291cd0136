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
  decltype(&createInferRefitter_INTERNAL) create_infer_refitter = nullptr;
  decltype(&createNvOnnxParser_INTERNAL) create_onnx_parser = nullptr;
  decltype(&createNvOnnxParserRefitter_INTERNAL) create_onnx_refitter = nullptr;

private:
  Version version_;
  std::string builder_problem_;
};

std::unique_ptr<Builder> make_builder(std::shared_ptr<const LoadedLibrary> library);
std::shared_ptr<Runtime> make_runtime(std::shared_ptr<const LoadedLibrary> library);
/// `owner` keeps `engine` alive.
std::unique_ptr<Refitter> make_refitter(std::shared_ptr<const LoadedLibrary> library, std::shared_ptr<const void> owner,
                                        nvinfer1::ICudaEngine &engine);

/// A text of TensorRT's, which may be missing.
inline rust::String text_or_empty(const char *text) { return rust::String::lossy(text != nullptr ? text : ""); }

/// What a parser or a refitter found, from its methods `getNbErrors` and `getError`.
template <typename Parser> rust::Vec<ParserError> errors_of(const Parser &parser) {
  rust::Vec<ParserError> all;
  for (int i = 0; i < parser.getNbErrors(); ++i) {
    const nvonnxparser::IParserError *error = parser.getError(i);
    if (error == nullptr) {
      continue;
    }
    ParserError told;
    told.code = static_cast<std::int32_t>(error->code());
    told.description = text_or_empty(error->desc());
    told.node = text_or_empty(error->nodeName());
    told.index = error->node();
    told.operator_type = text_or_empty(error->nodeOperator());
    told.file = text_or_empty(error->file());
    told.line = error->line();
    told.function = text_or_empty(error->func());
    all.push_back(std::move(told));
  }
  return all;
}

/// Has a parser or a refitter read a model, whose bytes may be freed afterwards.
template <typename Parser> void load_model_into(Parser &parser, rust::Slice<const std::uint8_t> model) {
  Errors errors;
  if (!parser.loadModelProto(model.data(), model.size(), nullptr)) {
    errors.fail("the model cannot be read");
  }
}

/// Hands a parser or a refitter the data of an initializer, which must outlive it.
template <typename Parser>
void load_weights_into(Parser &parser, rust::Str name, const std::uint8_t *data, std::size_t size) {
  Errors errors;
  const std::string text(name);
  if (!parser.loadInitializer(text.c_str(), data, size)) {
    errors.fail("the parser does not take " + std::to_string(size) + " bytes of weights");
  }
}

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
