//! Implements `log.h`.

#include "log.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <string_view>

#include "accelerant/cpp/api.h"
#include "accelerant/src/backend/tensorrt/ffi/bridge.rs.h"

namespace accelerant::ACCELERANT_FLAVOR {

class Logger final : public nvinfer1::ILogger {
public:
  void log(Severity severity, const char *text) noexcept override {
    const auto level = static_cast<std::int32_t>(severity);
    const char *message = text != nullptr ? text : "";
    if (log_enabled(level)) {
      const rust::String line = rust::String::lossy(message);
      log_message(level, line);
    }
    if (severity <= Severity::kERROR) {
      try {
        collect(message);
      } catch (...) {
        // Out of memory: the message was logged, the call still fails.
      }
    }
  }

  void add(Errors *errors) {
    const std::lock_guard lock(mutex_);
    collectors_.push_back(errors);
  }

  void remove(Errors *errors) noexcept {
    const std::lock_guard lock(mutex_);
    collectors_.erase(std::remove(collectors_.begin(), collectors_.end(), errors), collectors_.end());
  }

  /// What was collected so far: another thread may be adding to it.
  std::vector<std::string> collected(const Errors &errors) {
    const std::lock_guard lock(mutex_);
    return errors.messages_;
  }

private:
  void collect(const char *message) {
    const std::lock_guard lock(mutex_);
    const auto here = std::this_thread::get_id();
    const auto own = std::find_if(collectors_.rbegin(), collectors_.rend(),
                                  [&](const Errors *errors) { return errors->thread_ == here; });
    if (own != collectors_.rend()) {
      keep(**own, message);
      return;
    }
    for (Errors *errors : collectors_) {
      keep(*errors, message);
    }
  }

  static void keep(Errors &errors, const char *message) {
    constexpr std::size_t enough = 64;
    auto &kept = errors.messages_;
    if (kept.size() < enough && std::find(kept.begin(), kept.end(), message) == kept.end()) {
      kept.emplace_back(message);
    }
  }

  std::mutex mutex_;
  std::vector<Errors *> collectors_;
};

namespace {
/// CUDA's number in a message of the library, which prints it as `cudaError 901: …`; 0 if it has none. The library
/// tells it nowhere else: an `IErrorRecorder` is given 1 for everything of CUDA's (TensorRT-RTX 1.6.1).
std::int32_t cuda_error_in(std::string_view message) noexcept {
  constexpr std::string_view sign = "cudaError ";
  const std::size_t place = message.find(sign);
  std::int32_t number = 0;
  if (place != std::string_view::npos) {
    const char *digits = message.data() + place + sign.size();
    std::from_chars(digits, message.data() + message.size(), number);
  }
  return number;
}

Logger &instance() noexcept {
  // Never destroyed: TensorRT's threads may log while the process exits.
  static Logger *const logger = new Logger;
  return *logger;
}
} // namespace

nvinfer1::ILogger &logger() noexcept { return instance(); }

Errors::Errors() : thread_(std::this_thread::get_id()) { instance().add(this); }

Errors::~Errors() { instance().remove(this); }

void Errors::fail(const std::string &what) const {
  std::string text = what;
  const char *separator = ": ";
  std::int32_t cuda_error = 0;
  for (const std::string &message : instance().collected(*this)) {
    text += separator;
    text += message;
    separator = "; ";
    cuda_error = cuda_error != 0 ? cuda_error : cuda_error_in(message);
  }
  throw Failure(text, cuda_error);
}

} // namespace accelerant::ACCELERANT_FLAVOR
