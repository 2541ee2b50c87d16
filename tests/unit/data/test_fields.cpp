// Files of PDE data made by h5py and scipy, by other projects, and by hand: what is read is what was written.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "field_checks.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/field_cache.hpp"
#include "monarch/data/field_writer.hpp"
#include "monarch/data/fields.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/npy.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;
using test::raises;

namespace fs = std::filesystem;

namespace {

/// Runs a script of tests/python; skips where its packages are missing.
void run_python(const std::string& script, const std::string& arguments) {
  const auto result =
      test::run_command(std::string(MONARCH_PYTHON " " MONARCH_SOURCE_DIR "/tests/python/") + script + " " + arguments);
  if (result.exit_code == 77) test::skip("h5py or scipy is not installed: " + result.output);
  INFO(result.output << result.errors);
  REQUIRE(result.exit_code == 0);
}

/// Files of one run of make_field_files.py.
const fs::path& python_files() {
  static const test::TemporaryFolder folder;
  static const bool made = [] {
    run_python("make_field_files.py", "'" + folder.path().string() + "'");
    return true;
  }();
  (void)made;
  return folder.path();
}

struct Case {
  std::string name, file, format;
};
std::vector<Case> cases() {
  std::ifstream stream(python_files() / "cases.txt");
  std::vector<Case> all;
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    Case one;
    std::getline(words, one.name, '|');
    std::getline(words, one.file, '|');
    std::getline(words, one.format, '|');
    all.push_back(one);
  }
  return all;
}

/// Name -> values that a case expects.
std::map<std::string, at::Tensor> expected(const Case& one) {
  std::map<std::string, at::Tensor> all;
  for (const auto& entry : fs::directory_iterator(python_files() / (one.name + ".expected"))) {
    std::string name = entry.path().stem().string();
    std::replace(name.begin(), name.end(), '@', '/');
    all[name] = load_npy(entry.path());
  }
  return all;
}

std::string bytes_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}
void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("files of scipy and h5py in every layout read as what was put in") {
  size_t fields = 0;
  for (const auto& one : cases()) {
    const auto path = python_files() / one.name / one.file;
    INFO(one.name);
    const auto source = open_fields(path);
    REQUIRE(source->format() == one.format);
    const auto wanted = expected(one);
    for (const auto& [name, values] : wanted) {
      INFO(name << ": " << source->field(name).stored << ", " << source->field(name).note);
      const at::Tensor found = source->read(name);
      REQUIRE(found.sizes() == values.sizes());
      REQUIRE(found.scalar_type() == values.scalar_type());
      REQUIRE(at::equal(found, values));
      REQUIRE(!at::equal(found, values + 1));
      const auto& info = source->field(name);
      REQUIRE(info.samples == values.size(0));
      REQUIRE(info.times.has_value() == (values.dim() == static_cast<int64_t>(info.grid.size()) + 3));
      ++fields;
    }
    size_t others = 0;  // no field was made up
    for (const auto& info : source->fields()) others += wanted.count(info.name) == 0;
    REQUIRE(others == 0);
  }
  REQUIRE(fields >= 90);
}

TEST_CASE("any part of a field is that part of the whole") {
  int64_t parts = 0;
  for (const auto& one : cases()) {
    const auto source = open_fields(python_files() / one.name / one.file);
    INFO(one.name);
    for (const auto& [name, values] : expected(one)) {
      const auto& info = source->field(name);
      for (int turn = 0; turn < 4; ++turn) {
        FieldRange range;
        at::Tensor part = values;
        range.first_sample = turn % info.samples;
        range.samples = std::min<int64_t>(1 + turn, info.samples - range.first_sample);
        part = part.narrow(0, range.first_sample, range.samples);
        if (info.times) {
          range.first_time = std::min<int64_t>(turn, *info.times - 1);
          range.time_stride = 1 + turn % 3;
          part = part.slice(1, range.first_time, *info.times, range.time_stride);
        }
        for (size_t d = 0; d < info.grid.size(); ++d) {
          range.grid_stride.push_back(1 + (turn + static_cast<int64_t>(d)) % 3);
          part = part.slice(static_cast<int64_t>(d) + (info.times ? 3 : 2), 0, info.grid[d], range.grid_stride[d]);
        }
        const at::Tensor found = source->read(name, range);
        REQUIRE(at::equal(found, part));
        REQUIRE(found.is_contiguous());
        ++parts;
      }
    }
  }
  REQUIRE(parts >= 360);
}

TEST_CASE("coordinates and parameters are those that the file states") {
  const auto read = [](const std::string& name, const std::string& file) {
    return open_fields(python_files() / name / file);
  };
  const auto linear = [](int64_t n) { return at::linspace(0, 1, n, at::kFloat).to(at::kDouble); };
  const auto near = [](const at::Tensor& a, const at::Tensor& b) {
    return a.sizes() == b.sizes() && (a - b).abs().max().item<double>() <= 1e-6;
  };
  auto source = read("pdebench_plain", "1D_Advection.hdf5");
  REQUIRE(source->parameters().at("beta") == 0.4);
  REQUIRE(near(source->coordinates().at("x"), linear(16)));
  REQUIRE(source->coordinates().at("t").numel() == 9);  // 10 edges of 9 steps
  REQUIRE(source->notes().size() == 1);
  source = read("pdebench_diff_react", "diff_react.h5");
  REQUIRE(near(source->coordinates().at("y"), linear(10)));
  source = read("pdebench_swe", "swe.h5");  // its grid lies in one group only
  REQUIRE(near(source->coordinates().at("x"), linear(8)));
  source = read("well_gzip", "made_up.hdf5");
  REQUIRE(near(source->coordinates().at("t"), linear(4)));
  REQUIRE(source->parameters().at("Re") == 100);
  source = read("mat73_plain", "ns.mat");
  REQUIRE(at::equal(source->coordinates().at("t"), at::arange(1, 7, at::kDouble)));
  REQUIRE(source->parameters().at("nu") == 1e-3);
  REQUIRE(source->texts().at("note") == "Δt = 1");
  REQUIRE(read("mat5_fno_True", "ns.mat")->texts().at("note") == "text");
  REQUIRE(read("pdearena", "ns.h5")->coordinates().at("t").numel() == 4);
}

TEST_CASE("our own files open in scipy and h5py with the published names shapes and axes") {
  const test::TemporaryFolder folder;
  const at::Tensor a = at::randn({5, 6, 7}), u = at::randn({5, 6, 7, 4});
  save_npy(folder / "a.npy", a);
  save_npy(folder / "u.npy", u);
  for (const auto& [format, file] : {std::pair{FieldFormat::mat5, "mat5.mat"},
                                     {FieldFormat::mat73, "mat73.mat"},
                                     {FieldFormat::pdebench, "pdebench.h5"}}) {
    FieldLayout layout;
    layout.format = format;
    layout.samples = 5;
    layout.variables = {{"a", {6, 7}, at::kFloat},
                        {"u", {6, 7, 4}, at::kFloat},
                        {"c", {6, 7}, at::kComplexFloat},
                        {"flag", {6, 7}, at::kBool}};
    layout.constants["t"] = at::arange(1, 5, at::kDouble).reshape({1, 4});
    layout.parameters["nu"] = 1e-3;
    layout.identity = "navier-stokes ν = 1e-3\nseed 1";
    FieldWriter writer(folder / file, layout);
    for (int64_t i = 0; i < 5; ++i) {
      const at::Tensor one = a.narrow(0, i, 1);
      writer.append({one, u.narrow(0, i, 1), at::complex(one, 2 * one), one > 0});
    }
    writer.commit();
  }
  run_python("check_field_files.py", "'" + folder.path().string() + "'");
}

TEST_CASE("real files of other projects read with their axes") {
  struct Known {
    const char* file;
    const char* field;
    std::vector<int64_t> shape;
  };
  const Known all[] = {{"pde/burgers_shock.mat", "usol", {1, 100, 1, 256}},
                       {"pde/burgers.mat", "usol", {1, 101, 2, 256}},
                       {"pde/KS.mat", "uu", {1, 201, 1, 513}},
                       {"pde/AC.mat", "uu", {1, 201, 1, 512}},
                       {"pde/KdV.mat", "uu", {1, 201, 1, 512}},
                       {"pde/NLS.mat", "uu", {1, 201, 2, 256}},
                       {"pde/kdv.mat", "usol", {1, 201, 2, 512}},
                       {"pde/kuramoto_sivishinky.mat", "uu", {1, 251, 1, 1024}},
                       {"pde/IC_Burgers.mat", "IC", {1, 2, 128, 128}},
                       {"pde/cylinder_nektar_t0_vorticity.mat", "w", {1, 1, 49852}},
                       {"pde/darcy_train_16.pt", "x", {1000, 1, 16, 16}},
                       {"pde/darcy_train_16.pt", "y", {1000, 1, 16, 16}},
                       {"pde/burgers_train_16.pt", "x", {800, 1, 16}},
                       {"pde/burgers_train_16.pt", "y", {800, 17, 1, 16}},
                       {"pde/darcy64/darcy_batch_0.pt", "darcy", {4, 1, 64, 64}},
                       {"pde/darcy64", "permeability", {80, 1, 64, 64}}};
  for (const auto& known : all) {
    const auto path = test::data_file(known.file);
    INFO(known.file);
    const auto source = open_fields(path);
    const at::Tensor values = source->read(known.field);
    REQUIRE(values.sizes() == at::IntArrayRef(known.shape));
  }
  const auto burgers = open_fields(test::data_file("pde/burgers_train_16.pt"));
  const at::Tensor x = burgers->read("x"), y = burgers->read("y");
  REQUIRE(at::equal(y.select(1, 0), x));  // the initial condition is the first time
  REQUIRE(std::abs(burgers->parameters().at("visc") - 0.01) <= 1e-8);
  const auto shock = open_fields(test::data_file("pde/burgers_shock.mat"));
  const at::Tensor points = shock->coordinates().at("x");
  REQUIRE((shock->read("usol")[0][0][0] + (M_PI * points).sin()).abs().max().item<double>() <= 1e-6);  // -sin(pi x)
  // The twenty files lie in the order of their numbers: 2 before 10.
  const auto folder = open_fields(test::data_file("pde/darcy64"));
  const auto third = open_fields(test::data_file("pde/darcy64/darcy_batch_2.pt"));
  REQUIRE(at::equal(folder->read("darcy", {.first_sample = 8, .samples = 4}), third->read("darcy")));
}

TEST_CASE("axes that the caller names are taken as named") {
  const test::TemporaryFolder folder;
  const at::Tensor values = at::randn({4, 5, 6, 7});
  save_npy(folder / "f.npy", values);
  const auto read = [&](const std::string& letters) {
    return open_fields(folder / "f.npy", {.axes = {{"data", letters}}})->read("data");
  };
  REQUIRE(at::equal(read("ntxy"), values.unsqueeze(2)));
  REQUIRE(at::equal(read("xytn"), values.permute({3, 2, 0, 1}).unsqueeze(2)));
  REQUIRE(at::equal(read("cnyx"), values.permute({1, 0, 3, 2})));
  REQUIRE(at::equal(read("ncxy"), values));
  REQUIRE(at::equal(read("xyzt"), values.permute({3, 0, 1, 2}).unsqueeze(1).unsqueeze(0)));
  raises<ConfigError>([&] { read("ntx"); }, "3 letters for 4 axes");
  raises<ConfigError>([&] { read("nnxy"); }, "'n' cannot stand at place 1");
  raises<ConfigError>([&] { read("n1xy"); }, "'1' cannot stand at place 1");
  raises<ConfigError>([&] { read("nqxy"); }, "'q'");
}

TEST_CASE("ranges that are not in the file are refused") {
  const test::TemporaryFolder folder;
  save_npy(folder / "f.npy", at::randn({4, 5, 6, 7}));
  save_npy(folder / "g.npy", at::randn({4, 6, 7}));
  const auto source = open_fields(folder / "f.npy");
  raises<DataError>([&] { source->read("dat"); }, "did you mean data");
  raises<DataError>([&] { source->read("data", {.first_sample = 4}); }, "begins at 4");
  raises<DataError>([&] { source->read("data", {.samples = 5}); }, "5 from 0");
  raises<DataError>([&] { source->read("data", {.first_time = 3, .times = 2, .time_stride = 2}); }, "times of data");
  raises<DataError>([&] { source->read("data", {.first_time = -1}); }, "begins at -1");
  raises<DataError>([&] { source->read("data", {.grid_stride = {0, 1}}); }, "stride 0");
  raises<ShapeError>([&] { source->read("data", {.grid_stride = {1}}); }, "1 strides for 2 axes");
  raises<DataError>([&] { open_fields(folder / "g.npy")->read("data", {.first_time = 1}); }, "no time axis");
}

TEST_CASE("a sample with NaN or infinity is named") {
  const test::TemporaryFolder folder;
  for (const double bad : {std::nan(""), double{INFINITY}}) {
    at::Tensor values = at::randn({9, 6, 7});
    values[5][2][3] = bad;
    save_npy(folder / "f.npy", values);
    const auto source = open_fields(folder / "f.npy");
    raises<DataError>([&] { source->read("data"); }, "sample 5 of data holds NaN or infinity");
    raises<DataError>([&] { source->read("data", {.first_sample = 4}); }, "sample 5 of data");
    REQUIRE(source->read("data", {.samples = 5}).size(0) == 5);
  }
}

TEST_CASE("the copy in the cache gives the same samples, and is made anew when the file changes") {
  const test::TemporaryFolder folder;
  const std::string cache = (folder / "cache").string();
  setenv("MONARCH_CACHE_DIR", cache.c_str(), 1);
  const auto path = folder / "ns.mat";
  const auto write = [&](const at::Tensor& u, const std::string& identity) {
    FieldLayout layout;
    layout.samples = u.size(0);
    layout.variables = {{"u", {6, 5, 4}, at::kFloat}};
    layout.identity = identity;
    FieldWriter writer(path, layout);
    writer.append({u});
    writer.commit();
  };
  const auto cached = [&] {
    auto file = std::make_shared<const hdf5::File>(hdf5::File::open(path));
    return cached_array(hdf5_array(file, "u", true), 0, path, "u", {.smallest_bytes = 0, .block_bytes = 1000});
  };
  const auto count = [&] {
    return std::distance(fs::directory_iterator(folder / "cache/fields"), fs::directory_iterator());
  };
  for (int64_t turn = 0; turn < 2; ++turn) {
    const at::Tensor u = at::randn({20, 6, 5, 4});
    write(u, "run " + std::to_string(turn));
    for (int again = 0; again < 2; ++again) {
      const auto array = cached();
      Block block = Block::all({20, 6, 5, 4});
      REQUIRE(at::equal(array->read(block), u));
      block = {{3, 1, 0, 2}, {4, 3, 3, 2}, {1, 2, 2, 1}};
      REQUIRE(at::equal(array->read(block), u.slice(0, 3, 7).slice(1, 1, 6, 2).slice(2, 0, 5, 2).slice(3, 2, 4)));
      REQUIRE(count() == turn + 1);
    }
  }
  // A copy that was cut off is not taken for whole.
  for (const auto& entry : fs::directory_iterator(folder / "cache/fields")) fs::resize_file(entry.path(), 5000);
  const at::Tensor one = cached()->read({{2, 0, 0, 0}, {1, 6, 5, 4}, {1, 1, 1, 1}});
  REQUIRE(
      at::equal(one, open_fields(path)->read("u", {.first_sample = 2, .samples = 1}).squeeze(2).permute({0, 2, 3, 1})));
  // Without a place for the copy the file itself is read.
  setenv("MONARCH_CACHE_DIR", "/dev/null/none", 1);
  REQUIRE(at::equal(cached()->read({{2, 0, 0, 0}, {1, 6, 5, 4}, {1, 1, 1, 1}}), one));
  unsetenv("MONARCH_CACHE_DIR");
}

TEST_CASE("several threads read what one thread reads") {
  for (const auto* name : {"pdebench_lzf_shuffle/1D_Advection.hdf5", "mat73_gzip_odd/ns.mat", "mat5_fno_True/ns.mat"}) {
    const auto source = open_fields(python_files() / name);
    const std::string field = source->fields()[0].name;
    const at::Tensor whole = source->read(field);
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        for (int64_t turn = 0; turn < 20; ++turn) {
          const int64_t sample = (turn + i) % whole.size(0);
          if (!at::equal(source->read(field, {.first_sample = sample, .samples = 1})[0], whole[sample])) ++wrong;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    REQUIRE(wrong == 0);
  }
}

TEST_CASE("a file cut off anywhere ends in a message or in the numbers that were written") {
  const test::TemporaryFolder folder;
  int errors = 0, runs = 0;
  for (const auto& one : cases()) {
    if (one.file.empty()) continue;
    const std::string whole = bytes_of(python_files() / one.name / one.file);
    const auto wanted = expected(one);
    for (const double part : {0.1, 0.35, 0.6, 0.9, 0.99}) {
      const auto path = folder / one.file;
      write_bytes(path, whole.substr(0, static_cast<size_t>(static_cast<double>(whole.size()) * part)));
      INFO(one.name << " cut at " << part);
      ++runs;
      try {
        const auto source = open_fields(path);
        for (const auto& [name, values] : wanted) REQUIRE(at::equal(source->read(name), values));
      } catch (const DataError&) {
        ++errors;
      }
    }
  }
  REQUIRE(errors >= runs * 9 / 10);
}

TEST_CASE("a changed byte in compressed or summed numbers is noticed") {
  const test::TemporaryFolder folder;
  struct Place {
    const char* name;
    const char* field;
    const char* message;
  };
  for (const auto& place : {Place{"mat5_fno_True/ns.mat", "u", "compressed data"},
                            Place{"pdebench_gzip/1D_Advection.hdf5", "tensor", "damaged"},
                            Place{"pdebench_checksum/1D_Advection.hdf5", "tensor", "checksum"},
                            Place{"pdebench_gzip_shuffle_checksum/1D_Advection.hdf5", "tensor", "the chunk at"}}) {
    INFO(place.name);
    std::string bytes = bytes_of(python_files() / place.name);
    const at::Tensor values = open_fields(python_files() / place.name)->read(place.field).contiguous();
    // In the middle of MATLAB's one stream, of the last chunk of gzip, or at a number that lies there as it is.
    const size_t plain = bytes.find(std::string(static_cast<const char*>(values.const_data_ptr()), 8));
    const size_t zlib = bytes.rfind("\x78\x5e");
    const size_t at = plain != std::string::npos             ? plain
                      : std::string_view(place.field) == "u" ? bytes.size() / 2
                                                             : zlib + 20;
    REQUIRE(at + 8 <= bytes.size());
    for (size_t i = 0; i < 8; i += 4) bytes[at + i] = static_cast<char>(bytes[at + i] ^ 0x55);
    write_bytes(folder / "f", bytes);
    raises<DataError>([&] { open_fields(folder / "f")->read(place.field); }, place.message);
  }
}

TEST_CASE("what holds no PDE data says what it is") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "notes.txt", "x y u\n1 2 3\n");
  raises<DataError>([&] { open_fields(folder / "notes.txt"); }, "it is a text");
  raises<DataError>([&] { open_fields(folder / "note.txt"); }, "did you mean");
  raises<DataError>([&] { open_fields(folder.path()); }, "no file of PDE data");
  fs::create_directory(folder / "train");
  raises<DataError>([&] { open_fields(folder.path()); }, "it holds train");
  auto file = hdf5::File::create(folder / "empty.h5");
  file.write("t", at::arange(5, at::kDouble));
  file = hdf5::File::create(folder / "other.h5");
  raises<DataError>([&] { open_fields(folder / "empty.h5"); }, "only t");
  save_npy(folder / "train/a_1.npy", at::randn({4, 6, 7}));
  save_npy(folder / "train/a_2.npy", at::randn({4, 6, 8}));
  raises<DataError>([&] { open_fields(folder / "train"); }, "one layout");
}
