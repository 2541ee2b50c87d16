#pragma once
// The page's own files, embedded when the program is built.

#include <string_view>

namespace monarch::report::assets {

extern const std::string_view html;  ///< the page, with {{tokens}} where the content goes
extern const std::string_view css;
extern const std::string_view js;

}  // namespace monarch::report::assets
