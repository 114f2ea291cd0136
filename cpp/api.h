//! The border between Rust and TensorRT: abstract classes, one for each TensorRT object that Rust
//! owns, and the free functions that make the first of them. No TensorRT header is included here,
//! because each flavor brings its own; the flavors are compiled behind these classes.
//!
//! Every method either is `noexcept` or throws `std::exception`, which the bridge turns into an
//! error. An object keeps alive what it was made from. Strings that TensorRT gives may hold any
//! bytes and are repaired into UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "rust/cxx.h"

namespace accelerant {

/// What failed, and CUDA's number of it; 0 where CUDA has no part in it or the library gives no number.
class Failure final : public std::runtime_error {
public:
  Failure(const std::string &text, std::int32_t cuda_error) : std::runtime_error(text), cuda_error_(cuda_error) {}
  std::int32_t cuda_error() const noexcept { return cuda_error_; }

private:
  std::int32_t cuda_error_;
};

/// Rust's: CUDA's number of the failure that this thread is about to tell.
void note_cuda_error(std::int32_t number) noexcept;

} // namespace accelerant

namespace rust::behavior {

/// How the bridge turns an exception into an error: the text, and CUDA's number beside it.
template <typename Try, typename Fail>
static void trycatch(Try &&attempt, Fail &&fail) noexcept {
  try {
    attempt();
  } catch (const accelerant::Failure &e) {
    accelerant::note_cuda_error(e.cuda_error());
    fail(e.what());
  } catch (const std::exception &e) {
    accelerant::note_cuda_error(0);
    fail(e.what());
  }
}

} // namespace rust::behavior

namespace accelerant {

enum class Flavor : std::uint8_t;
struct BuildOptions;
struct ContextOptions;
struct OutputMemory;
struct ParserError;
struct Progress;
struct ProfileShape;
struct LayerTime;
struct TensorInfo;
struct Version;

/// Bytes that TensorRT allocated: a plan, a cache.
class HostMemory {
public:
  virtual ~HostMemory() = default;
  virtual rust::Slice<const std::uint8_t> bytes() const noexcept = 0;
};

/// Builder, network, parser and configuration of one build. For one thread.
class Builder {
public:
  virtual ~Builder() = default;
  /// Reads the model, whose bytes may be freed afterwards.
  virtual void load_model(rust::Slice<const std::uint8_t> model) = 0;
  /// Hands over the data of an initializer, which must outlive this object.
  virtual void load_weights(rust::Str name, const std::uint8_t *data, std::size_t size) = 0;
  virtual void parse() = 0;
  /// All that the parser found wrong.
  virtual rust::Vec<ParserError> parser_errors() const = 0;
  /// Inputs, then outputs, of the parsed network.
  virtual rust::Vec<TensorInfo> tensors() const = 0;
  virtual void add_profile(rust::Slice<const ProfileShape> shapes) = 0;
  virtual std::unique_ptr<HostMemory> build(const BuildOptions &options, const Progress &progress) = 0;
  /// The timing cache after a build, with the entries of `others`, which is a timing cache or empty; null where there is
  /// none. Others of another version or device are left out.
  virtual std::unique_ptr<HostMemory> timing_cache(rust::Slice<const std::uint8_t> others) const = 0;
};

/// One execution of an engine, and its kernel cache. For one thread at a time. Its tensors are in the
/// order that it was created with: inputs, then outputs.
class Context {
public:
  virtual ~Context() = default;
  /// Forgets the shapes that were set before.
  virtual void set_profile(std::int32_t index, std::size_t stream) = 0;
  /// Has the library record events between kernels, which do not overlap then.
  virtual void set_serial() = 0;
  /// As `set_serial`, and keeps how long each layer took.
  virtual void set_timed() = 0;
  /// The layers of the executions since this was asked last, in their order. All of them must be over.
  virtual rust::Vec<LayerTime> take_times() = 0;
  /// Sets the shapes of all inputs and gives those of all outputs, sizes one tensor after the other;
  /// -1 stands for a size that depends on what is computed. `values` are those of the inputs that
  /// decide shapes, one tensor after the other; no execution that had others may be pending.
  virtual void set_shapes(rust::Slice<const std::int64_t> inputs, rust::Slice<const std::int64_t> values,
                          rust::Slice<std::int64_t> outputs) = 0;
  /// Enqueues an execution on tensors at these addresses. Those of inputs that decide shapes are passed
  /// over, and those of outputs whose size was -1, which go to `computed`.
  virtual void enqueue(rust::Slice<const std::uint64_t> addresses, OutputMemory &computed, std::size_t stream) = 0;
  /// The kernels that this context was given and compiled; null where none are to be kept.
  virtual std::unique_ptr<HostMemory> kernels() const = 0;
  /// Ends this context and gives the kernels that it compiled; null where none were to be kept.
  /// Nothing else may be called afterwards.
  virtual std::unique_ptr<HostMemory> finish() = 0;
};

/// Gives an engine other weights, from a model that differs in its weights alone.
class Refitter {
public:
  virtual ~Refitter() = default;
  /// The model, without the weights that `load_weights` gives.
  virtual void load_model(rust::Slice<const std::uint8_t> model) = 0;
  /// The data must outlive this object.
  virtual void load_weights(rust::Str name, const std::uint8_t *data, std::size_t size) = 0;
  virtual void refit() = 0;
  /// What was wrong, for errors of the methods above.
  virtual rust::Vec<ParserError> parser_errors() const = 0;
};

/// A deserialized engine.
class Engine {
public:
  virtual ~Engine() = default;
  /// Inputs and outputs in the engine's own order.
  virtual rust::Vec<TensorInfo> tensors() const = 0;
  virtual std::int32_t profile_count() const noexcept = 0;
  /// The range of an input's sizes in a profile, or of the values of one that decides shapes.
  virtual ProfileShape profile_shape(rust::Str input, std::int32_t profile, bool of_values) const = 0;
  /// Scratch memory of one context in bytes.
  virtual std::int64_t device_memory_size() const noexcept = 0;
  /// All weights in bytes; negative where the library does not tell.
  virtual std::int64_t weights_size() const noexcept = 0;
  /// What the library tells of its layers, as JSON.
  virtual rust::String layer_information() const = 0;
  /// Whether the engine was built to get other weights.
  virtual bool is_refittable() const noexcept = 0;
  /// Nothing may run on the engine, now or later, until the object made here is gone.
  virtual std::unique_ptr<Refitter> create_refitter() const = 0;
  /// The plan of the engine as it is now.
  virtual std::unique_ptr<HostMemory> serialize() const = 0;
  /// The bytes of weights that may stay on the host; 0 where the engine was not built for that.
  virtual std::int64_t streamable_weights() const noexcept = 0;
  /// At most so many bytes of them lie on the device. No context may have been made.
  virtual void set_weight_budget(std::int64_t bytes) const = 0;
  virtual std::unique_ptr<Context> create_context(const ContextOptions &options) const = 0;
  /// Kernels that were kept, and those that were compiled, together; null where the first do not fit this machine.
  virtual std::unique_ptr<HostMemory> merge_kernels(rust::Slice<const std::uint8_t> kept,
                                                    rust::Slice<const std::uint8_t> compiled) const = 0;
};

/// Deserializes engines.
class Runtime {
public:
  virtual ~Runtime() = default;
  /// Why the library thinks these bytes unfit, as its own bit mask; 0 when fit or not known.
  virtual std::uint64_t invalidity(rust::Slice<const std::uint8_t> plan) const = 0;
  virtual std::shared_ptr<Engine> deserialize(rust::Slice<const std::uint8_t> plan) const = 0;
};

/// The loaded shared libraries of one flavor. Never unloaded: TensorRT's threads may outlive any
/// owner.
class Library {
public:
  virtual ~Library() = default;
  /// The file that was loaded.
  virtual rust::String path() const = 0;
  virtual Version version() const noexcept = 0;
  /// What stops this library from building engines; empty when nothing does.
  virtual rust::String builder_problem() const = 0;
  virtual std::unique_ptr<Builder> create_builder() const = 0;
  /// On a machine without a driver this is undefined behavior with the Enterprise flavor.
  virtual std::shared_ptr<Runtime> create_runtime() const = 0;
};

/// Loads a flavor's libraries from these names, which go to `dlopen` as they are. A parser that
/// cannot be loaded is told by `builder_problem`.
std::shared_ptr<Library> open_library(Flavor flavor, rust::Str core, rust::Str parser);

/// The version of the headers that a flavor was compiled with; it must match the library's.
Version header_version(Flavor flavor);

/// What `dlopen` says against this shared library; empty when it can be loaded.
rust::String load_problem(rust::Str name);

} // namespace accelerant
