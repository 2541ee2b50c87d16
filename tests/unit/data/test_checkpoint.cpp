// Files that PyTorch and safetensors wrote (tests/golden/make_checkpoints.py), and the formats told apart by content.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint_checks.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/safetensors.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

const fs::path golden = fs::path(MONARCH_SOURCE_DIR) / "tests/golden/checkpoints";

/// values() of make_checkpoints.py.
at::Tensor value(const std::vector<int64_t>& shape, const std::string& dtype) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  const at::Tensor flat = ((at::arange(count, at::kLong) * 37).remainder(61) - 30).to(at::kDouble) / 8;
  const at::ScalarType type = data::element_type_by_name(dtype)->type;
  at::Tensor result;
  if (type == at::kBool)
    result = flat > 0;
  else if (at::isComplexType(type))
    result = at::complex(flat, -flat).to(type);
  else if (type == at::kByte || type == at::kUInt16)
    result = (flat * 8 + 30).to(at::kByte).to(type);
  else if (at::isIntegralType(type, false))
    result = (flat * 8).to(type);
  else
    result = flat.to(type);
  return result.reshape(shape);
}

/// Exact equality, also for types that LibTorch does not compare.
bool same(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  if (at::isComplexType(a.scalar_type())) return at::equal(a, b);
  return at::equal(a.to(at::kDouble), b.to(at::kDouble));
}

nlohmann::json manifest() {
  std::ifstream file(golden / "manifest.json");
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("golden checkpoints: every tensor has the name, type, shape and values that Python saved") {
  const auto files = manifest()["files"];
  int compared = 0;
  for (const auto& [name, entry] : files.items()) {
    if (entry["tensors"].empty()) continue;
    INFO(name);
    const auto file = data::open_checkpoint(golden / name);
    REQUIRE(file->tensors().size() == entry["tensors"].size());
    for (const auto& [tensor, expected] : entry["tensors"].items()) {
      INFO(tensor);
      const auto* info = file->find(tensor);
      REQUIRE(info != nullptr);
      const auto shape = expected["shape"].get<std::vector<int64_t>>();
      const auto dtype = expected["dtype"].get<std::string>();
      REQUIRE(info->shape == shape);
      REQUIRE(info->dtype == dtype);
      const at::Tensor loaded = file->load(tensor);
      REQUIRE(loaded.is_contiguous());
      if (name == "views.pt" || tensor.starts_with("history")) continue;  // their values are below
      REQUIRE(same(loaded, tensor == "scalar" ? at::scalar_tensor(-3.75, at::kFloat) : value(shape, dtype)));
      REQUIRE(same(loaded, at::zeros(shape, loaded.scalar_type())) == (loaded.numel() == 0));
      ++compared;
    }
  }
  REQUIRE(compared >= 60);
}

TEST_CASE("golden checkpoints: shared, strided, expanded and conjugate views") {
  const auto file = data::open_checkpoint(golden / "views.pt");
  const at::Tensor base = value({6, 8}, "float32");
  REQUIRE(same(file->load("whole"), base));
  REQUIRE(same(file->load("rows"), base.slice(0, 2, 4)));
  REQUIRE(same(file->load("strided"), base.slice(0, 1, 6, 2).slice(1, 0, 8, 3)));
  REQUIRE(same(file->load("transposed"), base.t()));
  REQUIRE(same(file->load("expanded"), base[0].expand({3, 8})));
  REQUIRE(same(file->load("scalar"), base[0][0]));
  REQUIRE(same(file->load("empty"), base.slice(0, 0, 0)));
  REQUIRE(same(file->load("parameter"), base));
  REQUIRE(same(file->load("conjugate"), value({4}, "complex64").conj()));
  // A loaded tensor is one's own.
  file->load("whole").zero_();
  REQUIRE(same(file->load("whole"), base));
}

TEST_CASE("golden checkpoints: a trainer's file, whole and by key") {
  for (const auto* name : {"trainer.pt", "protocol4.pt"}) {
    INFO(name);
    const auto file = data::open_checkpoint(golden / name);
    REQUIRE(file->metadata().at("epoch") == "3");
    REQUIRE(file->metadata().at("best") == "0.25");
    REQUIRE(file->metadata().at("done") == "false");
    REQUIRE(file->metadata().at("name") == "tiny");
    REQUIRE(file->load("history.0").item<float>() == 1.5f);
    const auto& notes = file->notes();
    REQUIRE(std::find(notes.begin(), notes.end(), "args: argparse.Namespace is not read") != notes.end());
    REQUIRE(std::find(notes.begin(), notes.end(), "big: an integer of 11 bytes is not read") != notes.end());
    const auto model = data::open_checkpoint(golden / name, {.select = "model"});
    const auto state = data::open_checkpoint(golden / "state_dict.pt");
    REQUIRE(model->tensors().size() == state->tensors().size());
    for (const auto& info : state->tensors()) REQUIRE(same(model->load(info.name), state->load(info.name)));
    REQUIRE_THROWS_WITH(data::open_checkpoint(golden / name, {.select = "module"}),
                        Contains("no tensors below 'module'") && Contains("try history, model or optimizer"));
  }
}

TEST_CASE("golden checkpoints: what is refused, and why") {
  REQUIRE_THAT(refusal(golden / "malicious.pt"), Contains("calls posix.system: refused"));
  REQUIRE_THAT(refusal(golden / "legacy.pt"), Contains("before version 1.6") && Contains("python3 -c"));
  REQUIRE_THAT(refusal(golden / "script.pt"), Contains("TorchScript"));
  REQUIRE_THAT(refusal(golden / "module.pt"), Contains("holds no tensor, but torch.nn.modules.linear.Linear"));
  REQUIRE_FALSE(fs::exists("/tmp/monarch-checkpoint-was-run"));
}

TEST_CASE("real PyTorch files are read") {
  const auto file = data::open_checkpoint(data_file("pde/darcy_test_16.pt"));
  REQUIRE(file->find("x")->dtype == "bool");
  const at::Tensor y = file->load("y");
  REQUIRE(y.sizes() == at::IntArrayRef({50, 16, 16}));
  REQUIRE(at::isfinite(y).all().item<bool>());
  REQUIRE(y.std().item<double>() > 0);
  REQUIRE(data::open_checkpoint(data_file("pde/burgers_train_16.pt"))->find("y")->shape ==
          std::vector<int64_t>{800, 17, 16});
}

TEST_CASE("sharded checkpoints: one list of tensors over several files, found from index or folder") {
  const TemporaryFolder folder;
  data::save_safetensors(folder / "model-1.safetensors", {{"a", at::ones({2})}, {"b", at::ones({3})}});
  data::save_safetensors(folder / "model-2.safetensors", {{"c", at::full({4}, 2.0)}});
  fs::copy_file(golden / "tensor.pt", folder / "model-3.bin");
  const auto index = folder / "model.safetensors.index.json";
  write_text(index,
             R"({"metadata": {"total_size": 36}, "weight_map": {"a": "model-1.safetensors", "c": "model-2.safetensors",
                        "b": "model-1.safetensors", "tensor": "model-3.bin"}})");
  for (const auto& path : {index, folder.path()}) {
    const auto file = data::open_checkpoint(path);
    REQUIRE(file->tensors().size() == 4);
    REQUIRE(same(file->load("c"), at::full({4}, 2.0)));
    REQUIRE(same(file->load("tensor"), value({2, 2}, "float32")));
  }
  const auto message = [&](const std::string& json) {
    write_text(index, json);
    return refusal(index);
  };
  REQUIRE_THAT(message(R"({"weight_map": {"z": "model-1.safetensors"}})"),
               Contains("holds tensor 'z', which it does not"));
  REQUIRE_THAT(message(R"({"weight_map": {"a": "model-9.safetensors"}})"),
               Contains("model-9.safetensors: no such file"));
  for (const auto* place : {"../model-1.safetensors", "/etc/passwd", "..", "", "model.safetensors.index.json"})
    REQUIRE_THAT(message(fmt::format(R"({{"weight_map": {{"a": "{}"}}}})", place)),
                 Contains("expected the name of a file in the same folder"));
  REQUIRE_THAT(message(R"({"weight_map": {"a": 3}})"), Contains("expected the name of a file"));
  REQUIRE_THAT(message(R"({"weight_map": {}})"), Contains("lists no tensor"));
  REQUIRE_THAT(message(R"({"weights": 1})"), Contains("expected JSON with an object 'weight_map'"));
  REQUIRE_THAT(message(fmt::format("{{{}", std::string(100000, '['))), Contains("expected JSON"));
}

TEST_CASE("files of other kinds are told from checkpoints") {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    write_text(folder / "x.bin", bytes);
    return refusal(folder / "x.bin");
  };
  REQUIRE_THAT(message("\x89HDF\r\n\x1a\n and more"), Contains("found HDF5"));
  REQUIRE_THAT(message("version https://git-lfs.github.com/spec/v1\noid sha256:"), Contains("git lfs pull"));
  REQUIRE_THAT(message("GGUF and more"), Contains("found GGUF"));
  REQUIRE_THAT(message("hello"), Contains("found unknown content"));
  REQUIRE_THAT(message("\x80\x02}q\x01."
                       "and more"),
               Contains("is a bare pickle"));
  REQUIRE_THAT(refusal(folder.path()), Contains("is a folder without a checkpoint"));
  REQUIRE_THAT(refusal(folder / "y.bin"), Contains("no such file") && Contains("did you mean"));
  // A safetensors header of 640 bytes starts like a pickle.
  const std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  REQUIRE(message(safetensors_bytes(json + std::string(640 - json.size(), ' '), 1)) == "nothing was refused");
}
