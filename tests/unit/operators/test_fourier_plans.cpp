// The planner below Fourier: threads, alignment, and wisdom that outlives the process.
#include <ATen/ATen.h>

#include <fmt/format.h>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/kernels/fourier.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
namespace cpu = monarch::operators::kernels::cpu;
using test::relative_error;
using test::tolerance;

namespace {

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype = at::kComplexFloat, uint64_t seed = 1) {
  return Rng(seed, "plans").normal(std::move(shape), dtype);
}

template <class T>
std::complex<T>* pointer(const at::Tensor& x) {
  return reinterpret_cast<std::complex<T>*>(x.mutable_data_ptr());
}

/// Runs the hidden test case below in a process of its own and returns what it says.
std::string child(const std::filesystem::path& cache) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto result = test::run_command(
      fmt::format("MONARCH_CACHE_DIR='{}' '{}' 'Fourier plans: child process'", cache.string(), program));
  INFO(result.output << result.errors);
  REQUIRE(result.exit_code == 0);
  const auto at = result.output.find("planner:");
  REQUIRE(at != std::string::npos);
  return result.output.substr(at, result.output.find('\n', at) - at);
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

constexpr const char* measured = "planner: 1 measured, 0 from wisdom";
constexpr const char* remembered = "planner: 0 measured, 1 from wisdom";

}  // namespace

TEST_CASE("Fourier plans: child process", "[.]") {
  const at::Tensor x = noise({90, 88});
  const at::Tensor y = fourier_transform(x, {0, 1});
  REQUIRE(relative_error(y, at::fft_fft2(x, at::OptionalIntArrayRef(), {0, 1}, "ortho")) <=
          tolerance(at::kComplexFloat, x.numel()));
  const cpu::PlanStatistics figures = cpu::plan_statistics();
  std::cout << fmt::format("planner: {} measured, {} from wisdom\n", figures.measured, figures.from_wisdom);
}

TEST_CASE("Fourier plans: wisdom is kept for the next program and damage to it is survived") {
  const test::TemporaryFolder folder;
  const auto cache = folder / "cache";
  REQUIRE(child(cache) == measured);
  REQUIRE(files_in(cache).size() == 1);
  const auto file = files_in(cache).front();
  REQUIRE(file.filename().string().starts_with("fftw-float-"));
  const std::string good = content(file);
  REQUIRE(good.find("fftw") != std::string::npos);
  REQUIRE(child(cache) == remembered);

  const std::vector<std::string> damaged = {"",
                                            "(",
                                            good.substr(0, good.size() / 2),
                                            std::string(100000, '('),
                                            std::string("\0\1\2", 3) + good,
                                            "(fftw-9.9.9 fftwf_wisdom #x1 #x2 #x3 #x4)"};
  for (const std::string& text : damaged) {
    std::ofstream(file, std::ios::binary) << text;
    REQUIRE(child(cache) == measured);
    REQUIRE(content(file).find("fftw") != std::string::npos);
  }
  REQUIRE(child(cache) == remembered);
  REQUIRE(files_in(cache).size() == 1);
}

TEST_CASE("Fourier plans: a cache that cannot be read or written costs time only") {
  const test::TemporaryFolder folder;
  REQUIRE(child("/dev/null/nowhere") == measured);
  const auto cache = folder / "cache";
  REQUIRE(child(cache) == measured);
  const auto file = files_in(cache).front();
  std::filesystem::remove(file);
  std::filesystem::create_directories(file / "in the way");  // neither readable as a file nor replaceable by one
  REQUIRE(child(cache) == measured);
  REQUIRE(std::filesystem::is_directory(file));
  REQUIRE(files_in(cache).size() == 1);
}

TEST_CASE("Fourier plans: a shape is planned once and then found") {
  const cpu::PlanShape shape{{{6, 10}, {10, 1}}, {{3, 60}}, false};
  const auto plan = cpu::get_plan<float>(shape, cpu::Effort::estimate);
  const auto planned = cpu::plan_statistics().planned;
  REQUIRE(cpu::get_plan<float>(shape, cpu::Effort::estimate) == plan);
  REQUIRE(cpu::plan_statistics().planned == planned);
  cpu::PlanShape other = shape;
  other.inverse = true;
  REQUIRE(cpu::get_plan<float>(other, cpu::Effort::estimate) != plan);
  REQUIRE(cpu::plan_statistics().planned == planned + 1);
  REQUIRE_THROWS_AS(cpu::get_plan<float>({{}, {}, false}), ShapeError);
  REQUIRE_THROWS_AS(cpu::get_plan<float>({{{0, 1}}, {}, false}), ShapeError);
  REQUIRE_THROWS_AS(cpu::get_plan<float>({{{4, 1}, {4, 4}, {4, 16}, {4, 64}}, {}, false}), ShapeError);
  REQUIRE_THROWS_AS(cpu::get_plan<double>({{{int64_t{1} << 40, int64_t{1} << 40}}, {}, false}), ShapeError);
}

TEMPLATE_TEST_CASE("Fourier plans: strided batches at any alignment equal the plain transform", "", float, double) {
  constexpr auto dtype = std::is_same_v<TestType, float> ? at::kComplexFloat : at::kComplexDouble;
  const auto effort = GENERATE(cpu::Effort::estimate, cpu::Effort::measure);
  // [2, 9, 5, 15]: transforms over the axes of 9 and 15.
  const cpu::PlanShape shape{{{9, 75}, {15, 1}}, {{2, 675}, {5, 15}}, true};
  const auto plan = cpu::get_plan<TestType>(shape, effort);
  const at::Tensor x = noise({2, 9, 5, 15}, dtype);
  const at::Tensor expected =
      at::fft_ifftn(x.to(at::kComplexDouble), at::OptionalIntArrayRef(), at::IntArrayRef({1, 3}), "forward");
  const int64_t numbers = 2 * x.numel();
  const at::Tensor room = at::empty({numbers + 4}, at::toRealValueType(dtype));
  for (int64_t offset = 0; offset < 4; ++offset) {  // in real numbers: every alignment a complex array can have
    at::Tensor data = room.slice(0, offset, offset + numbers);
    data.copy_(at::view_as_real(x).flatten());
    plan->execute(reinterpret_cast<std::complex<TestType>*>(data.mutable_data_ptr()));
    const at::Tensor y = at::view_as_complex(data.clone().view({2, 9, 5, 15, 2}));
    REQUIRE(relative_error(y, expected) <= tolerance(dtype, 135));
  }
}

TEST_CASE("Fourier plans: threads may plan and transform at the same time") {
  std::vector<std::thread> threads;
  std::vector<double> errors(6, std::nan(""));
  const Fourier shared(Space{{21, 26}}, {.dimensions = 2, .centred = true});
  for (size_t t = 0; t < errors.size(); ++t) {
    threads.emplace_back([&, t] {
      double worst = 0;
      for (int64_t i = 0; i < 12; ++i) {
        // The same new shapes in every thread, met at about the same time; and one operator for all.
        const at::Tensor x = noise({3, 20 + i, 26}, at::kComplexFloat, t);
        const at::Tensor y = fourier_transform(x, {1, 2});
        const at::Tensor expected = at::fft_fft2(x, at::OptionalIntArrayRef(), {1, 2}, "ortho");
        worst = std::max(worst, relative_error(y, expected));
        const at::Tensor z = x.slice(1, 0, 20).contiguous();
        const at::Tensor back = fourier_transform(fourier_transform(z, {1}), {1}, {.inverse = true});
        worst = std::max(worst, relative_error(back, z));
        const at::Tensor image = noise({21, 26}, at::kComplexFloat, t + 100);
        worst = std::max(worst, relative_error(shared.adjoint(shared.apply(image)), image));
      }
      errors[t] = worst;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const double error : errors) REQUIRE(error <= tolerance(at::kComplexFloat, 1000));
}

TEST_CASE("Fourier plans: plans outlive the cache and are released from any thread") {
  auto plan = cpu::get_plan<float>({{{12, 1}}, {}, false}, cpu::Effort::estimate);
  for (int64_t n = 1; n <= 2100; ++n) cpu::get_plan<float>({{{n % 4 + 1, 1}}, {{n, 8}}, false}, cpu::Effort::estimate);
  at::Tensor x = noise({12});
  const at::Tensor expected = at::fft_fft(x);
  plan->execute(pointer<float>(x));
  REQUIRE(relative_error(x, expected) <= tolerance(at::kComplexFloat, 12));
  std::thread([last = std::move(plan)]() mutable { last.reset(); }).join();
}
