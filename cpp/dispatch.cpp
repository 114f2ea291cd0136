//! Picks the flavor. Nothing else knows which flavors were compiled in.

#include <dlfcn.h>

#include <stdexcept>
#include <string>

#include "accelerant/cpp/api.h"
#include "accelerant/src/backend/tensorrt/ffi/bridge.rs.h"

namespace accelerant {

#ifdef ACCELERANT_RTX
namespace rtx {
std::shared_ptr<Library> open_library(const std::string &core, const std::string &parser);
Version header_version() noexcept;
} // namespace rtx
#endif

#ifdef ACCELERANT_ENTERPRISE
namespace enterprise {
std::shared_ptr<Library> open_library(const std::string &core, const std::string &parser);
Version header_version() noexcept;
} // namespace enterprise
#endif

namespace {
[[noreturn]] void not_compiled_in(Flavor flavor) {
  const char *feature = flavor == Flavor::Rtx ? "tensorrt-rtx" : "tensorrt";
  throw std::runtime_error(std::string("not compiled in: cargo feature `") + feature + "`");
}
} // namespace

std::shared_ptr<Library> open_library(Flavor flavor, rust::Str core, rust::Str parser) {
#ifdef ACCELERANT_RTX
  if (flavor == Flavor::Rtx) {
    return rtx::open_library(std::string(core), std::string(parser));
  }
#endif
#ifdef ACCELERANT_ENTERPRISE
  if (flavor == Flavor::Enterprise) {
    return enterprise::open_library(std::string(core), std::string(parser));
  }
#endif
  static_cast<void>(core);
  static_cast<void>(parser);
  not_compiled_in(flavor);
}

Version header_version(Flavor flavor) {
#ifdef ACCELERANT_RTX
  if (flavor == Flavor::Rtx) {
    return rtx::header_version();
  }
#endif
#ifdef ACCELERANT_ENTERPRISE
  if (flavor == Flavor::Enterprise) {
    return enterprise::header_version();
  }
#endif
  not_compiled_in(flavor);
}

rust::String load_problem(rust::Str name) {
  if (dlopen(std::string(name).c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) {
    return {};
  }
  const char *text = dlerror();
  return rust::String::lossy(text != nullptr ? text : "dlopen failed");
}

} // namespace accelerant
