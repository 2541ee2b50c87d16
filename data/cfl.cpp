#include "monarch/data/cfl.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/array_scan.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

constexpr size_t rank = 16;
constexpr size_t element_bytes = 8;
constexpr size_t largest_header = 1 << 20;
constexpr std::string_view dimensions_key = "# Dimensions";
constexpr const char* dimension_names[rank] = {"READ", "PHS1",   "PHS2", "COIL",  "MAPS",  "TE",    "COEFF", "COEFF2",
                                               "ITER", "CSHIFT", "TIME", "TIME2", "LEVEL", "SLICE", "AVG",   "BATCH"};

fs::path with_extension(const fs::path& path, const char* extension) {
  const fs::path end = path.extension();
  if (end == ".hdr" || end == ".cfl") return fs::path(path).replace_extension(extension);
  return path.string() + extension;
}

at::Tensor read_elements(const fs::path& path, int64_t first, std::vector<int64_t> shape) {
  at::Tensor values = at::empty(shape, at::kComplexFloat);
  std::ifstream stream(path, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(first) * static_cast<std::streamoff>(element_bytes));
  const auto bytes = static_cast<std::streamsize>(values.nbytes());
  stream.read(static_cast<char*>(values.data_ptr()), bytes);
  check<DataError>(
      stream.gcount() == bytes,
      [&] { return fmt::format("{}: cannot read {} bytes at element {}", path.string(), bytes, first); },
      "the file changed while it was read, or the disk fails");
  return values;
}

class CflScan final : public ArrayScan {
 public:
  CflScan(const fs::path& path, const ScanOptions& options)
      : ArrayScan(path.string(), options), pair_(open_cfl_pair(path)) {
    const auto& dims = pair_.dims;
    for (const int dimension :
         {cfl::maps, cfl::coefficient, cfl::coefficient2, cfl::iteration, cfl::shift, cfl::level}) {
      check<DataError>(
          dims[static_cast<size_t>(dimension)] == 1,
          [&] {
            return fmt::format("{}: dimension {} ({}) is {}, expected 1 in k-space", pair_.header.string(), dimension,
                               dimension_names[dimension], dims[static_cast<size_t>(dimension)]);
          },
          "this does not look like k-space; sensitivities have MAPS, for instance");
    }
    per_image_ = dims[0] * dims[1] * dims[2] * dims[3];
    // Averages are merged, every other combination of the outer dimensions is an image.
    for (int64_t echo = 0; echo < dims[cfl::echo]; ++echo) {
      for (int64_t set = 0; set < dims[cfl::batch]; ++set) {
        for (int64_t phase = 0; phase < dims[cfl::time2]; ++phase) {
          for (int64_t repetition = 0; repetition < dims[cfl::time]; ++repetition) {
            for (int64_t slice = 0; slice < dims[cfl::slice]; ++slice)
              images_.push_back({slice, echo, phase, repetition, set});
          }
        }
      }
    }
    header_.format = "BART cfl";
    header_.coils = dims[cfl::coil];
    header_.encoded.matrix = header_.recon.matrix = {dims[0], dims[1], dims[2]};
    header_.volume = dims[2] > 1;
  }

 protected:
  at::Tensor load(size_t image) const override {
    const int64_t averages = pair_.dims[cfl::average];
    at::Tensor sum = load_average(image, 0);
    if (averages == 1) return sum;
    at::Tensor count = sum.ne(0).any(0, true).to(at::kFloat);
    for (int64_t average = 1; average < averages; ++average) {
      const at::Tensor next = load_average(image, average);
      sum.add_(next);
      count.add_(next.ne(0).any(0, true));
    }
    return sum.div_(count.clamp_min(1));
  }

 private:
  at::Tensor load_average(size_t image, int64_t average) const {
    const auto& dims = pair_.dims;
    const ImageIndex& index = images_[image];
    int64_t at = 0, stride = per_image_;
    const auto step = [&](int dimension, int64_t position) {
      at += position * stride;
      stride *= dims[static_cast<size_t>(dimension)];
    };
    step(cfl::echo, index.contrast);
    step(cfl::time, index.repetition);
    step(cfl::time2, index.phase);
    step(cfl::slice, index.slice);
    step(cfl::average, average);
    step(cfl::batch, index.set);
    return read_elements(pair_.data, at, {dims[3], dims[2], dims[1], dims[0]});
  }

  CflPair pair_;
  int64_t per_image_ = 0;
};

}  // namespace

std::vector<int64_t> parse_cfl_header(std::string_view text, const std::string& name) {
  const size_t key = text.find(dimensions_key);
  check<DataError>(
      key != std::string_view::npos && (key == 0 || text[key - 1] == '\n'),
      [&] { return fmt::format("{}: expected a line \"# Dimensions\"", name); }, "this is no BART header");
  const size_t line = text.find('\n', key);
  check<DataError>(line != std::string_view::npos,
                   [&] { return fmt::format("{}: ends behind \"# Dimensions\"", name); });
  const std::string_view numbers = text.substr(line + 1, text.find('\n', line + 1) - line - 1);
  std::vector<int64_t> dims;
  const char* at = numbers.data();
  const char* const end = numbers.data() + numbers.size();
  while (true) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) ++at;
    if (at == end) break;
    int64_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    check<DataError>(
        error == std::errc() && value >= 1 && (next == end || *next == ' ' || *next == '\t' || *next == '\r'), [&] {
          return fmt::format("{}: dimension {} is not a positive whole number: \"{}\"", name, dims.size(),
                             numbers.substr(0, 80));
        });
    at = next;
    dims.push_back(value);
    check<DataError>(dims.size() <= rank, [&] { return fmt::format("{}: has more than {} dimensions", name, rank); });
  }
  check<DataError>(!dims.empty(), [&] { return fmt::format("{}: no dimensions are stated", name); });
  return dims;
}

CflPair open_cfl_pair(const fs::path& path) {
  CflPair pair{with_extension(path, ".hdr"), with_extension(path, ".cfl"), {}};
  check_input_file(pair.header);
  pair.dims = parse_cfl_header(read_prefix(pair.header, largest_header), pair.header.string());
  pair.dims.resize(rank, 1);
  const uint64_t bytes = check_input_file(pair.data);
  double expected = element_bytes;
  for (const int64_t extent : pair.dims) expected *= static_cast<double>(extent);
  check<DataError>(
      expected == static_cast<double>(bytes),
      [&] {
        return fmt::format("{}: dimensions {} need {:.0f} bytes, {} has {}", pair.header.string(),
                           shape_text(pair.dims), expected, pair.data.filename().string(), bytes);
      },
      "the two files do not belong together, or one is truncated");
  return pair;
}

at::Tensor load_cfl(const fs::path& path) {
  const CflPair pair = open_cfl_pair(path);
  std::vector<int64_t> shape(pair.dims.begin(), pair.dims.end());
  while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
  std::reverse(shape.begin(), shape.end());
  return read_elements(pair.data, 0, shape);
}

void save_cfl(const fs::path& path, const at::Tensor& tensor) {
  check<ShapeError>(tensor.dim() <= static_cast<int64_t>(rank) && tensor.numel() > 0, [&] {
    return fmt::format("{}: a cfl holds 1 to {} non-empty axes, found {}", path.string(), rank,
                       shape_text(tensor.sizes()));
  });
  const at::Tensor values = tensor.detach().cpu().to(at::kComplexFloat).contiguous().resolve_conj().resolve_neg();
  std::vector<int64_t> dims(values.sizes().rbegin(), values.sizes().rend());
  dims.resize(rank, 1);
  std::ofstream header(with_extension(path, ".hdr"), std::ios::trunc);
  header << dimensions_key << '\n';
  for (const int64_t extent : dims) header << extent << ' ';
  header << '\n';
  header.close();
  std::ofstream data(with_extension(path, ".cfl"), std::ios::binary | std::ios::trunc);
  data.write(static_cast<const char*>(values.data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  data.close();
  check<DataError>(
      !header.fail() && !data.fail(), [&] { return fmt::format("{}: cannot be written", path.string()); },
      "is the disk full, or the folder read-only?");
}

std::unique_ptr<ScanSource> open_cfl(const fs::path& path, const ScanOptions& options) {
  return std::make_unique<CflScan>(path, options);
}

}  // namespace monarch::data
