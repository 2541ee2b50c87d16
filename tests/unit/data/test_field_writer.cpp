// Files of PDE data as written here: equal when read again, resumed, and refused where they cannot be right.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "field_checks.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/field_writer.hpp"
#include "monarch/data/fields.hpp"
#include "monarch/data/hdf5.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;
using test::raises;

namespace {

constexpr FieldFormat formats[] = {FieldFormat::mat5, FieldFormat::mat73, FieldFormat::pdebench};

FieldLayout navier_stokes(FieldFormat format, int64_t samples, const std::string& identity = "seed 1") {
  FieldLayout layout;
  layout.format = format;
  layout.samples = samples;
  layout.variables = {{"a", {6, 5}, at::kFloat}, {"u", {6, 5, 4}, at::kFloat}};
  layout.constants["t"] = at::arange(1, 5, at::kDouble).reshape({1, 4});
  layout.parameters["nu"] = 1e-3;
  layout.identity = identity;
  return layout;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::filesystem::path partial(const std::filesystem::path& path) {
  return path.parent_path() / ("." + path.filename().string() + ".partial");
}

}  // namespace

TEST_CASE("what is written in any format reads back as [sample, time, channel, grid]") {
  const test::TemporaryFolder folder;
  for (const FieldFormat format : formats) {
    const auto path = folder / ("ns" + std::to_string(static_cast<int>(format)));
    const at::Tensor a = at::randn({7, 6, 5}), u = at::randn({7, 6, 5, 4});
    // PDEBench keeps time second; the published MATLAB layout keeps it last.
    const bool last = format != FieldFormat::pdebench;
    auto layout = navier_stokes(format, 7);
    if (!last) {
      layout.variables = {{"tensor", {4, 6, 5}, at::kFloat}};
      layout.constants = {{"t-coordinate", at::arange(1, 5, at::kDouble)},
                          {"x-coordinate", at::arange(6, at::kDouble)},
                          {"y-coordinate", at::arange(5, at::kDouble)}};
    }
    const at::Tensor stored = last ? u : u.permute({0, 3, 1, 2}).contiguous();
    FieldWriter writer(path, layout);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 3}, {3, 1}, {4, 3}}) {
      REQUIRE(writer.done() == first);
      if (last)
        writer.append({a.narrow(0, first, count), stored.narrow(0, first, count)});
      else
        writer.append({stored.narrow(0, first, count)});
    }
    REQUIRE(!std::filesystem::exists(path));
    writer.commit();
    REQUIRE(!std::filesystem::exists(partial(path)));
    const auto source = open_fields(path);
    const at::Tensor expected = u.permute({0, 3, 1, 2}).unsqueeze(2);
    REQUIRE(at::equal(source->read(last ? "u" : "tensor"), expected));
    REQUIRE(!at::equal(source->read(last ? "u" : "tensor"), expected + 1e-6));
    if (last) REQUIRE(at::equal(source->read("a"), a.unsqueeze(1)));
    REQUIRE(at::equal(source->coordinates().at("t"), at::arange(1, 5, at::kDouble)));
    REQUIRE(source->parameters().at("nu") == 1e-3);
    FieldRange range{.first_sample = 2, .samples = 3, .first_time = 1, .times = 2, .time_stride = 2};
    range.grid_stride = {2, 3};
    const at::Tensor part = source->read(last ? "u" : "tensor", range);
    REQUIRE(at::equal(part, expected.slice(0, 2, 5).slice(1, 1, 4, 2).slice(3, 0, 6, 2).slice(4, 0, 5, 3)));
    REQUIRE(part.is_contiguous());
  }
}

TEST_CASE("every element type comes back, complex numbers as channels") {
  const test::TemporaryFolder folder;
  for (const FieldFormat format : {FieldFormat::mat5, FieldFormat::mat73}) {
    for (const auto type :
         {at::kFloat, at::kDouble, at::kBool, at::kByte, at::kInt, at::kLong, at::kComplexFloat, at::kComplexDouble}) {
      const auto path = folder / "f.mat";
      const bool complex = at::isComplexType(type);
      const at::Tensor u = complex ? at::randn({3, 4, 5}, type) : at::randint(0, 2, {3, 4, 5}, at::kLong).to(type);
      FieldLayout layout;
      layout.format = format;
      layout.samples = 3;
      layout.variables = {{"u", {4, 5}, type}};
      FieldWriter writer(path, layout);
      writer.append({u});
      writer.commit();
      const at::Tensor found = open_fields(path)->read("u");
      const bool wide = type == at::kDouble || type == at::kComplexDouble;
      REQUIRE(found.scalar_type() == (wide ? at::kDouble : at::kFloat));
      if (complex)
        REQUIRE(at::equal(found, at::view_as_real(u).movedim(3, 1)));
      else
        REQUIRE(at::equal(found, u.to(found.scalar_type()).unsqueeze(1)));
    }
  }
}

TEST_CASE("a run that was killed goes on behind its last finished sample, to the same bytes") {
  const test::TemporaryFolder folder;
  const at::Tensor a = at::randn({6, 6, 5}), u = at::randn({6, 6, 5, 4});
  for (const FieldFormat format : {FieldFormat::mat5, FieldFormat::mat73}) {
    const auto whole = folder / "whole.mat", parted = folder / "parted.mat";
    {
      FieldWriter writer(whole, navier_stokes(format, 6));
      writer.append({a, u});
      writer.commit();
    }
    const pid_t child = fork();
    if (child == 0) {  // killed in the middle of an append: bytes behind the last finished sample
      FieldWriter writer(parted, navier_stokes(format, 6));
      writer.append({a.narrow(0, 0, 2), u.narrow(0, 0, 2)});
      const int file = open(partial(parted).c_str(), O_WRONLY | O_APPEND);
      if (write(file, "half a sample", 13) != 13) _exit(1);
      kill(getpid(), SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(!std::filesystem::exists(parted));
    {
      FieldWriter writer(parted, navier_stokes(format, 6));
      REQUIRE(writer.done() == 2);
      writer.append({a.narrow(0, 2, 4), u.narrow(0, 2, 4)});
      writer.commit();
    }
    REQUIRE(bytes_of(whole) == bytes_of(parted));
    REQUIRE(bytes_of(whole).size() > 6 * 6 * 5 * 5 * 4);
    std::filesystem::remove(whole);
    std::filesystem::remove(parted);
  }
}

TEST_CASE("a partial file of another run is refused, and replaced on request") {
  const test::TemporaryFolder folder;
  const auto path = folder / "ns.mat";
  const at::Tensor a = at::randn({2, 6, 5}), u = at::randn({2, 6, 5, 4});
  {
    FieldWriter writer(path, navier_stokes(FieldFormat::mat73, 4, "equation ns\nseed 1"));
    writer.append({a, u});
    raises<DataError>([&] { FieldWriter other(path, navier_stokes(FieldFormat::mat73, 4)); }, "another process");
  }
  raises<DataError>([&] { FieldWriter other(path, navier_stokes(FieldFormat::mat73, 4, "equation ns\nseed 2")); },
                    "'seed 1' there, 'seed 2' now");
  raises<DataError>([&] { FieldWriter other(path, navier_stokes(FieldFormat::mat5, 4, "equation ns\nseed 1")); },
                    "format");
  raises<DataError>([&] { FieldWriter other(path, navier_stokes(FieldFormat::mat73, 1, "equation ns\nseed 1")); },
                    "2 finished samples of 1");
  FieldWriter same(path, navier_stokes(FieldFormat::mat73, 4, "equation ns\nseed 1"));
  REQUIRE(same.done() == 2);
}

TEST_CASE("restart begins anew") {
  const test::TemporaryFolder folder;
  const auto path = folder / "ns.mat";
  {
    FieldWriter writer(path, navier_stokes(FieldFormat::mat5, 4, "seed 1"));
    writer.append({at::randn({2, 6, 5}), at::randn({2, 6, 5, 4})});
  }
  FieldWriter writer(path, navier_stokes(FieldFormat::mat5, 4, "seed 2"), true);
  REQUIRE(writer.done() == 0);
}

TEST_CASE("layouts that a format cannot hold, and wrong shapes, are refused") {
  const test::TemporaryFolder folder;
  const auto make = [&](FieldLayout layout) { FieldWriter writer(folder / "f.mat", std::move(layout)); };
  auto large = navier_stokes(FieldFormat::mat5, 5000);
  large.variables[1].shape = {64, 64, 50};
  raises<DataError>([&] { make(large); }, "mat73");
  auto half = navier_stokes(FieldFormat::mat73, 5);
  half.variables[0].dtype = at::kHalf;
  raises<DataError>([&] { make(half); }, "float16");
  auto twice = navier_stokes(FieldFormat::mat73, 5);
  twice.variables[1].name = "a";
  raises<DataError>([&] { make(twice); }, "twice");
  raises<DataError>([&] { FieldWriter writer(folder / "no/such/folder/f.mat", navier_stokes(FieldFormat::mat73, 5)); },
                    "folder");

  FieldWriter writer(folder / "f.mat", navier_stokes(FieldFormat::mat73, 2));
  raises<ShapeError>([&] { writer.append({at::randn({1, 6, 5})}); }, "expected 2");
  raises<ShapeError>([&] { writer.append({at::randn({1, 6, 5}), at::randn({1, 6, 5, 3})}); }, "[1, 6, 5, 4]");
  raises<ShapeError>([&] { writer.append({at::randn({3, 6, 5}), at::randn({3, 6, 5, 4})}); }, "expected 2 in all");
  raises<DataError>([&] { writer.commit(); }, "0 of 2 samples");
}

TEST_CASE("a full disk leaves the finished samples") {
  // A limit on the size of files stands for the full disk; it holds for the child only.
  const test::TemporaryFolder folder;
  const auto path = folder / "ns.mat";
  const pid_t child = fork();
  if (child == 0) _exit(test::fill_disk(path, navier_stokes(FieldFormat::mat73, 40)));
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 3);  // samples before the error
  FieldWriter writer(path, navier_stokes(FieldFormat::mat73, 40));
  REQUIRE(writer.done() == 3);
}
