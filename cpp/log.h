//! TensorRT's log: every message goes to Rust, and errors also to the call that caused them.
//! Compiled once for each flavor, as everything that includes a TensorRT header.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include <NvInferRuntime.h>

namespace accelerant::ACCELERANT_FLAVOR {

/// The flavor's one logger: TensorRT wants the same one for all its objects, for ever.
nvinfer1::ILogger &logger() noexcept;

/// Collects the errors logged during its life, so that a failing call can tell them. Errors of
/// TensorRT's own threads cannot be told apart and go to every collector that is alive.
class Errors {
public:
  Errors();
  ~Errors();
  Errors(const Errors &) = delete;
  Errors &operator=(const Errors &) = delete;

  /// Throws `what` with the errors collected, and CUDA's number of the first that has one.
  [[noreturn]] void fail(const std::string &what) const;

private:
  friend class Logger;
  std::thread::id thread_;
  std::vector<std::string> messages_;
};

} // namespace accelerant::ACCELERANT_FLAVOR
