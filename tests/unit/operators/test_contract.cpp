// The contract over the zoo, and wrong operators that it must reject.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

#include "support/contract.hpp"
#include "zoo.hpp"

namespace {

using monarch::operators::Field;
using monarch::operators::LinearOperator;
using monarch::operators::Space;
using monarch::test::contract;
using monarch::test::contract_violations;
using monarch::test::Law;
using monarch::test::zoo;

/// Scaling by 1 + 2i (of a real space: by 2), right or with one defect.
class Specimen final : public LinearOperator {
 public:
  enum class Defect {
    none,
    no_conjugate,
    nan,
    unwritten,
    accumulates,
    constant_added,
    wrong_normal,
    writes_into_argument,
    mixes_batch,
    ignores_strides,
    two_lines,
    conjugates
  };

  Specimen(Space space, Defect defect) : LinearOperator(space, space), defect_(defect) {}
  std::string describe() const override {
    return (defect_ == Defect::two_lines ? "Specimen\n" : "Specimen ") + domain().text();
  }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override {
    switch (defect_) {
      case Defect::nan: return scaled(x, 1).index_fill(0, at::zeros({1}, at::kLong), std::nan(""));
      case Defect::unwritten: {
        at::Tensor y = at::empty(x.sizes(), x.options());
        y.flatten(1).narrow(1, 1, x[0].numel() - 1).copy_(scaled(x, 1).flatten(1).narrow(1, 1, x[0].numel() - 1));
        return y;
      }
      case Defect::accumulates: return at::empty(x.sizes(), x.options()).add_(scaled(x, 1));
      case Defect::constant_added: return scaled(x, 1) + 0.01;
      case Defect::writes_into_argument: x.mul_(2); return scaled(x, 1) / 2;
      case Defect::mixes_batch: return scaled(x, 1) + 0.1 * x.mean(0, true) - 0.1 * x.mean() * (x.size(0) == 1);
      case Defect::ignores_strides:
        return scaled(x.storage_offset() == 0 ? x.as_strided(x.sizes(), at::empty(x.sizes(), at::kMeta).strides()) : x,
                      1);
      case Defect::conjugates: return scaled(x, 1).conj();
      default: return scaled(x, 1);
    }
  }
  at::Tensor do_adjoint(const at::Tensor& y) const override {
    return scaled(y, defect_ == Defect::no_conjugate ? 1 : -1);
  }
  at::Tensor do_normal(const at::Tensor& x) const override {
    return defect_ == Defect::wrong_normal ? x * 5.001 : LinearOperator::do_normal(x);
  }

 private:
  at::Tensor scaled(const at::Tensor& x, double sign) const {
    return x * c10::Scalar(c10::complex<double>(1, 2 * sign));
  }

  Defect defect_;
};

std::set<std::string> names_of(const std::vector<std::string>& violations) {
  std::set<std::string> names;
  for (const auto& text : violations) names.insert(text.substr(0, text.find(':')));
  return names;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The classes that `text` derives from LinearOperator.
std::set<std::string> operator_classes(const std::string& text) {
  static const std::regex pattern(R"(class\s+(\w+)(\s+final)?\s*:\s*public\s+(\w+::)*LinearOperator\b)");
  std::set<std::string> names;
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match) {
    names.insert((*match)[1]);
  }
  return names;
}

}  // namespace

TEST_CASE("Contract: every operator of the zoo keeps every law") {
  std::map<std::string, int> counts;
  for (const auto& entry : zoo()) {
    const auto op = entry.make();
    const auto violations = contract_violations(*op);
    INFO(op->describe() << " -> " << op->codomain().text() << "\n" << fmt::format("{}", fmt::join(violations, "\n")));
    CHECK(violations.empty());
    ++counts[entry.class_name];
  }
  CHECK(counts.size() >= 12);
}

TEST_CASE("Contract: every operator class has an entry in the zoo") {
  std::set<std::string> in_zoo, in_headers;
  for (const auto& entry : zoo()) in_zoo.insert(entry.class_name);
  const std::filesystem::path folder = std::filesystem::path(MONARCH_SOURCE_DIR) / "operators";
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.path().extension() == ".hpp") in_headers.merge(operator_classes(text_of(file.path())));
  }
  CHECK(in_headers.count("Fourier") == 1);
  CHECK(in_headers.count("MonarchTransform") == 1);
  CHECK(in_zoo == in_headers);
  // The search itself must find what is not in the zoo.
  const std::string others =
      "class Missing final : public LinearOperator {\nclass Sub : public operators::LinearOperator";
  CHECK(operator_classes(others) == std::set<std::string>{"Missing", "Sub"});
}

TEST_CASE("Contract: a right operator passes and each defect is found by its law") {
  using Defect = Specimen::Defect;
  const Space space{{4, 5}, GENERATE(at::kComplexFloat, at::kComplexDouble), at::kCPU};
  CHECK(contract_violations(Specimen(space, Defect::none)) == std::vector<std::string>{});
  const std::vector<std::pair<Defect, std::set<std::string>>> expected = {
      {Defect::no_conjugate, {"dot test", "dense adjoint", "gradient"}},
      {Defect::nan, {"linearity", "dot test", "normal", "dense adjoint", "batch", "strides", "gradient", "threads"}},
      {Defect::unwritten, {"overwriting"}},
      {Defect::accumulates, {"overwriting"}},
      {Defect::constant_added, {"linearity"}},
      {Defect::wrong_normal, {"normal", "dense adjoint"}},
      {Defect::writes_into_argument, {"argument unchanged"}},
      {Defect::mixes_batch, {"batch"}},
      {Defect::ignores_strides, {"strides"}},
      {Defect::two_lines, {"description"}},
      {Defect::conjugates, {"linearity"}},
  };
  for (const auto& [defect, laws] : expected) {
    const auto found = names_of(contract_violations(Specimen(space, defect)));
    for (const auto& law : laws) {
      INFO("defect " << static_cast<int>(defect) << ", law " << law << ", found " << fmt::format("{}", found));
      CHECK(found.count(law) == 1);
    }
  }
}

TEST_CASE("Contract: an operator that breaks the checks of the base class is found") {
  // Its message says nothing, and its batch check is gone: what a class that hides apply() would look like.
  class Silent final : public LinearOperator {
   public:
    Silent() : LinearOperator({{3}, at::kDouble, at::kCPU}, {{3}, at::kDouble, at::kCPU}) {}
    std::string describe() const override { return ""; }

   protected:
    at::Tensor do_apply(const at::Tensor& x) const override { return x.narrow(1, 0, 2); }
    at::Tensor do_adjoint(const at::Tensor& y) const override { return y; }
  };
  const auto found = names_of(contract_violations(Silent()));
  CHECK(found.count("description") == 1);
  CHECK(found.count("linearity") == 1);
}
