//! Other weights for an engine, from a model whose graph is the engine's.

#include <stdexcept>

#include "objects.h"

namespace accelerant::ACCELERANT_FLAVOR {

namespace {

class ModelRefitter final : public Refitter {
public:
  ModelRefitter(std::shared_ptr<const LoadedLibrary> library, std::shared_ptr<const void> owner,
                nvinfer1::ICudaEngine &engine)
      : library_(std::move(library)), owner_(std::move(owner)) {
    Errors errors;
    if (library_->create_infer_refitter == nullptr || library_->create_onnx_refitter == nullptr) {
      throw std::runtime_error("this library cannot refit engines");
    }
    refitter_.reset(static_cast<nvinfer1::IRefitter *>(
        library_->create_infer_refitter(&engine, &logger(), NV_TENSORRT_VERSION)));
    if (!refitter_) {
      errors.fail("the engine cannot be refitted");
    }
    parser_.reset(static_cast<nvonnxparser::IParserRefitter *>(
        library_->create_onnx_refitter(refitter_.get(), &logger(), NV_ONNX_PARSER_VERSION)));
    if (!parser_) {
      errors.fail("the ONNX refitter cannot be created");
    }
  }

  void load_model(rust::Slice<const std::uint8_t> model) override { load_model_into(*parser_, model); }

  void load_weights(rust::Str name, const std::uint8_t *data, std::size_t size) override {
    load_weights_into(*parser_, name, data, size);
  }

  void refit() override {
    Errors errors;
    if (!parser_->refitModelProto()) {
      errors.fail("the model does not fit the engine");
    }
    if (!refitter_->refitCudaEngine()) {
      errors.fail("the weights cannot be exchanged");
    }
  }

  rust::Vec<ParserError> parser_errors() const override { return errors_of(*parser_); }

private:
  // Destroyed from the last to the first.
  std::shared_ptr<const LoadedLibrary> library_;
  std::shared_ptr<const void> owner_;
  std::unique_ptr<nvinfer1::IRefitter> refitter_;
  std::unique_ptr<nvonnxparser::IParserRefitter> parser_;
};

} // namespace

std::unique_ptr<Refitter> make_refitter(std::shared_ptr<const LoadedLibrary> library, std::shared_ptr<const void> owner,
                                        nvinfer1::ICudaEngine &engine) {
  return std::make_unique<ModelRefitter>(std::move(library), std::move(owner), engine);
}

} // namespace accelerant::ACCELERANT_FLAVOR
