#include "monarch/core/error.hpp"

namespace monarch {

Error::Error(const std::string& message, const std::string& hint, std::source_location where)
    : std::runtime_error(hint.empty() ? message : message + "\nhint: " + hint),
      message_(message),
      hint_(hint),
      where_(where) {}

}  // namespace monarch
