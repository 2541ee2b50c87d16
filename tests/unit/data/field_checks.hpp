#pragma once
// What the tests of PDE files share.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <string>

#include "monarch/core/error.hpp"
#include "monarch/data/field_writer.hpp"

namespace monarch::test {

/// Requires an error of that kind whose text (message and hint) holds `part`.
template <class Error, class Action>
void raises(Action action, const std::string& part) {
  std::string what;
  try {
    action();
  } catch (const Error& error) {
    what = error.what();
  }
  INFO("expected an error with '" << part << "', got '" << what << "'");
  REQUIRE(!what.empty());
  REQUIRE(what.find(part) != std::string::npos);
}

/// Appends samples of zeros until the limit on file sizes stops it; returns how many were finished, 100 without an
/// error.
inline int fill_disk(const std::filesystem::path& path, const data::FieldLayout& layout) {
  signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{4096 + 3 * 600 + 100, 4096 + 3 * 600 + 100};
  setrlimit(RLIMIT_FSIZE, &limit);
  int finished = 0;
  try {
    data::FieldWriter writer(path, layout);
    for (int i = 0; i < 40; ++i) {
      std::vector<at::Tensor> values;
      for (const auto& variable : layout.variables) {
        auto shape = variable.shape;
        shape.insert(shape.begin(), 1);
        values.push_back(at::zeros(shape, variable.dtype));
      }
      writer.append(values);
      finished = static_cast<int>(writer.done());
    }
  } catch (const DataError&) {
    return finished;
  }
  return 100;
}

}  // namespace monarch::test
