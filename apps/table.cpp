// Tables and small pictures for the terminal.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "command.hpp"

namespace monarch::apps {

void print_table(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (const auto& [name, value] : rows) fmt::print("{:<{}}  {}\n", name, width, value);
}

std::vector<std::string> map_picture(const at::Tensor& counts, int64_t width, int64_t height) {
  static constexpr const char* shades[] = {"·", "░", "▒", "▓", "█"};
  const at::Tensor filled = (counts > 0).to(at::kDouble).contiguous();
  const int64_t rows = filled.size(0), columns = filled.size(1);
  width = std::min(width, columns);
  height = std::min(height, rows);
  std::vector<std::string> lines;
  const double* data = filled.const_data_ptr<double>();
  for (int64_t r = 0; r < height; ++r) {
    std::string line;
    for (int64_t c = 0; c < width; ++c) {
      double sum = 0;
      int64_t cells = 0;
      for (int64_t z = r * rows / height; z < std::max((r + 1) * rows / height, r * rows / height + 1); ++z) {
        for (int64_t y = c * columns / width; y < std::max((c + 1) * columns / width, c * columns / width + 1); ++y) {
          sum += data[z * columns + y];
          ++cells;
        }
      }
      const double share = sum / static_cast<double>(cells);
      line += share <= 0 ? shades[0] : shades[std::clamp<int>(static_cast<int>(share * 4 + 0.999), 1, 4)];
    }
    lines.push_back(line);
  }
  return lines;
}

}  // namespace monarch::apps
