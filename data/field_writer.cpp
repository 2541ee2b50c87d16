#include "monarch/data/field_writer.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/field_file.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

// The partial file: magic (16), number of finished samples (8), bytes of the description (8), the description, zeros
// up to a multiple of 4096, then one record a sample: its variables one behind the other, axes of MATLAB's formats
// reversed. Samples behind the number are not counted: they may be incomplete.
constexpr char magic[17] = "monarch partial1";
constexpr uint64_t page = 4096;
constexpr uint64_t longest_description = 1 << 20;

/// Everything that decides about the bytes of a sample, a line each, and the caller's identity.
std::string describe(const FieldLayout& layout) {
  static constexpr const char* formats[] = {"mat5", "mat73", "pdebench"};
  std::string text = fmt::format("format {}\n", formats[static_cast<int>(layout.format)]);
  for (const auto& variable : layout.variables)
    text += fmt::format("variable {} {} {}\n", variable.name, shape_text(variable.shape),
                        element_type_text(variable.dtype));
  return text + layout.identity;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> result;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    result.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

/// "'seed 1' there, 'seed 2' now".
std::string difference(const std::string& there, const std::string& now) {
  const auto a = lines(there), b = lines(now);
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string left = i < a.size() ? a[i] : "", right = i < b.size() ? b[i] : "";
    if (left != right) return fmt::format("'{}' there, '{}' now", left, right);
  }
  return "nothing";
}

}  // namespace

struct FieldWriter::State {
  fs::path path, partial;
  FieldLayout layout;
  std::string description;
  std::vector<int64_t> offsets;  ///< of the variables in a record
  int64_t record_bytes = 0;
  uint64_t header_bytes = 0;
  int64_t done = 0;
  int file = -1;

  ~State() {
    if (file >= 0) ::close(file);
  }

  [[noreturn]] void fail_disk(const std::string& what) const {
    fail<DataError>(fmt::format("{}: {}: {}", partial.string(), what, std::strerror(errno)),
                    errno == ENOSPC
                        ? fmt::format("the {} samples that are finished stay; make room and start again", done)
                        : "is the folder there, and may you write to it?");
  }
  void write(uint64_t at, const void* from, uint64_t count) const {
    for (uint64_t written = 0; written < count;) {
      const ssize_t got =
          ::pwrite(file, static_cast<const char*>(from) + written, count - written, static_cast<off_t>(at + written));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail_disk("cannot be written");
      written += static_cast<uint64_t>(got);
    }
  }
  bool read(uint64_t at, void* to, uint64_t count) const {
    for (uint64_t got = 0; got < count;) {
      const ssize_t now = ::pread(file, static_cast<char*>(to) + got, count - got, static_cast<off_t>(at + got));
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) return false;
      got += static_cast<uint64_t>(now);
    }
    return true;
  }
  void sync() const {
    if (::fdatasync(file) != 0) fail_disk("cannot be written to disk");
  }
  void set_done(int64_t count) {
    const auto number = static_cast<uint64_t>(count);
    write(16, &number, sizeof number);
    sync();
    done = count;
  }
  uint64_t record(int64_t sample) const {
    return header_bytes + static_cast<uint64_t>(sample) * static_cast<uint64_t>(record_bytes);
  }

  void start_anew() {
    if (::ftruncate(file, 0) != 0) fail_disk("cannot be written");
    const uint64_t length = description.size();
    write(24, &length, sizeof length);
    write(32, description.data(), length);
    if (::ftruncate(file, static_cast<off_t>(header_bytes)) != 0) fail_disk("cannot be written");
    set_done(0);
    write(0, magic, 16);
    sync();
  }

  /// Goes on behind the samples of a partial file, or throws where it is another's.
  void resume() {
    struct stat status {};
    char start[17] = {};
    uint64_t count = 0, length = 0;
    if (::fstat(file, &status) != 0 || !read(0, start, 16) || std::memcmp(start, magic, 16) != 0 ||
        !read(16, &count, sizeof count) || !read(24, &length, sizeof length) || length > longest_description) {
      return start_anew();  // killed while it was made: no sample is in it
    }
    std::string there(length, '\0');
    const bool whole = read(32, there.data(), length);
    check<DataError>(
        whole && there == description,
        [&] { return fmt::format("{}: is of another run: {}", partial.string(), difference(there, description)); },
        fmt::format("finish that run, remove the file, or start anew with restart"));
    check<DataError>(
        count <= static_cast<uint64_t>(layout.samples) &&
            record(static_cast<int64_t>(count)) <= static_cast<uint64_t>(status.st_size),
        [&] {
          return fmt::format("{}: claims {} finished samples of {}, its size is {} bytes", partial.string(), count,
                             layout.samples, status.st_size);
        },
        "ask for at least as many samples, or start anew with restart");
    done = static_cast<int64_t>(count);
  }

  at::Tensor elements(size_t variable, int64_t first, int64_t count) const {
    const auto type = layout.variables[variable].dtype;
    const auto bytes = static_cast<int64_t>(c10::elementSize(type));
    at::Tensor result = at::empty({layout.samples, count}, type);
    auto* to = static_cast<char*>(result.mutable_data_ptr());
    for (int64_t sample = 0; sample < layout.samples; ++sample, to += count * bytes) {
      check<DataError>(read(record(sample) + static_cast<uint64_t>(offsets[variable] + first * bytes), to,
                            static_cast<uint64_t>(count * bytes)),
                       [&] { return fmt::format("{}: sample {} cannot be read", partial.string(), sample); });
    }
    return result;
  }
};

FieldWriter::FieldWriter(const fs::path& path, FieldLayout layout, bool restart) : state_(std::make_unique<State>()) {
  State& state = *state_;
  check_field_layout(path, layout);
  state.path = path;
  state.partial = path.parent_path() / fmt::format(".{}.partial", path.filename().string());
  state.layout = std::move(layout);
  state.description = describe(state.layout);
  check<DataError>(state.description.size() <= longest_description, "the identity of the data is too long");
  state.header_bytes = (32 + state.description.size() + page - 1) / page * page;
  for (const auto& variable : state.layout.variables) {
    state.offsets.push_back(state.record_bytes);
    state.record_bytes += sample_numel(variable) * static_cast<int64_t>(c10::elementSize(variable.dtype));
  }
  std::error_code error;
  check<DataError>(!fs::is_directory(path, error),
                   [&] { return fmt::format("{}: is a directory, expected a file", path.string()); });
  state.file = ::open(state.partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (state.file < 0) state.fail_disk("cannot be made");
  check<DataError>(
      ::flock(state.file, LOCK_EX | LOCK_NB) == 0,
      [&] { return fmt::format("{}: is being written by another process", state.partial.string()); },
      "wait for it, or choose another name");
  if (restart)
    state.start_anew();
  else
    state.resume();
}

FieldWriter::~FieldWriter() = default;

int64_t FieldWriter::done() const {
  return state_->done;
}

void FieldWriter::append(const std::vector<at::Tensor>& values) {
  State& state = *state_;
  const auto& variables = state.layout.variables;
  check<ShapeError>(values.size() == variables.size(), [&] {
    return fmt::format("{}: {} variables were given, expected {}", state.path.string(), values.size(),
                       variables.size());
  });
  const int64_t count = values[0].dim() > 0 ? values[0].size(0) : 0;
  check<ShapeError>(count <= state.layout.samples - state.done, [&] {
    return fmt::format("{}: {} samples behind {}, expected {} in all", state.path.string(), count, state.done,
                       state.layout.samples);
  });
  std::vector<char> records(static_cast<size_t>(count * state.record_bytes));
  for (size_t i = 0; i < variables.size(); ++i) {
    std::vector<int64_t> expected = variables[i].shape;
    expected.insert(expected.begin(), count);
    check<ShapeError>(values[i].sizes() == at::IntArrayRef(expected), [&] {
      return fmt::format("{}: {} has shape {}, expected {}", state.path.string(), variables[i].name,
                         shape_text(values[i].sizes()), shape_text(expected));
    });
    at::Tensor numbers = values[i].detach().to(at::kCPU, variables[i].dtype).resolve_conj();
    if (state.layout.format != FieldFormat::pdebench) {
      std::vector<int64_t> order(expected.size());
      std::iota(order.rbegin(), order.rend(), int64_t{0});
      std::rotate(order.begin(), order.end() - 1, order.end());  // the sample stays first
      numbers = numbers.permute(order);
    }
    numbers = numbers.contiguous();
    const auto bytes = static_cast<size_t>(sample_numel(variables[i])) * c10::elementSize(variables[i].dtype);
    for (int64_t sample = 0; sample < count; ++sample) {
      std::memcpy(records.data() + sample * state.record_bytes + state.offsets[i],
                  static_cast<const char*>(numbers.const_data_ptr()) + static_cast<size_t>(sample) * bytes, bytes);
    }
  }
  state.write(state.record(state.done), records.data(), records.size());
  state.sync();
  state.set_done(state.done + count);
}

void FieldWriter::commit() {
  State& state = *state_;
  check<DataError>(
      state.done == state.layout.samples,
      [&] {
        return fmt::format("{}: {} of {} samples are there", state.path.string(), state.done, state.layout.samples);
      },
      "add the others before committing");
  const fs::path folder = state.path.has_parent_path() ? state.path.parent_path() : fs::path(".");
  OutputFolder output(folder);
  write_field_file(
      output.path(state.path.filename().string()), state.layout,
      [&](size_t variable, int64_t first, int64_t count) { return state.elements(variable, first, count); });
  output.commit();
  std::error_code error;
  fs::remove(state.partial, error);
}

}  // namespace monarch::data
