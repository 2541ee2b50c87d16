#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint_checks.hpp"
#include "monarch/data/safetensors.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b);
}

std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

constexpr const char* good = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                             R"("b":{"dtype":"I16","shape":[4],"data_offsets":[24,32]}})";

}  // namespace

TEST_CASE("safetensors: what is written is read back, every type, any strides") {
  const TemporaryFolder folder;
  at::manual_seed(1);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto type : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar,
                          at::kByte, at::kBool, at::kComplexFloat})
    tensors.emplace_back(std::string("t.") + at::toString(type), (at::rand({3, 5}, at::kDouble) * 100).to(type));
  tensors.emplace_back("scalar", at::scalar_tensor(2.5, at::kFloat));
  tensors.emplace_back("empty", at::empty({0, 7}, at::kHalf));
  tensors.emplace_back("strided", at::rand({6, 8}).t().slice(0, 1, 8, 3));
  tensors.emplace_back("conjugate", at::randn({4}, at::kComplexFloat).conj());
  tensors.emplace_back("odd", at::ones({3}, at::kByte));
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote\"", "line\nλ"}};
  data::save_safetensors(folder / "a.safetensors", tensors, metadata);
  const auto file = data::open_checkpoint(folder / "a.safetensors");
  REQUIRE(file->format() == "safetensors");
  REQUIRE(file->tensors().size() == tensors.size());
  REQUIRE(file->metadata() == metadata);
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    REQUIRE(same(file->load(name), tensor));
    REQUIRE(file->find(name)->bytes == tensor.nbytes());
  }
  // Aligned: the header to 8 bytes, each tensor to its element.
  const std::string bytes = read_all(folder / "a.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  REQUIRE(length % 8 == 0);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  REQUIRE(header["t.Double"]["data_offsets"][0].get<uint64_t>() % 8 == 0);
  REQUIRE(header["t.BFloat16"]["data_offsets"][0].get<uint64_t>() % 2 == 0);
}

TEST_CASE("safetensors: a file appears whole or not at all") {
  const TemporaryFolder folder;
  const auto path = folder / "out.safetensors";
  {
    data::SafetensorsWriter writer(path, {{"a", "", at::kFloat, {2}}, {"b", "", at::kFloat, {2}}});
    writer.write("b", at::ones({2}));
    REQUIRE_THROWS_AS(writer.write("b", at::ones({2})), DataError);
    REQUIRE_THROWS_AS(writer.write("c", at::ones({2})), DataError);
    REQUIRE_THROWS_AS(writer.write("a", at::ones({3})), ShapeError);
    REQUIRE_THROWS_AS(writer.write("a", at::ones({2}, at::kDouble)), DtypeError);
    REQUIRE_THROWS_AS(writer.commit(), DataError);
  }
  REQUIRE(fs::is_empty(folder.path()));
  REQUIRE_THROWS_AS(data::save_safetensors(path, {{"z", at::ones({2}, at::kComplexDouble)}}), DtypeError);
  REQUIRE_THROWS_AS(data::save_safetensors(path, {{"z", at::ones({2})}, {"z", at::ones({2})}}), DataError);
  REQUIRE_THROWS_AS(data::save_safetensors(folder.path(), {{"z", at::ones({2})}}), DataError);
  REQUIRE(fs::is_empty(folder.path()));
  data::save_safetensors(path, {{"z", at::ones({2})}});
  data::save_safetensors(path, {{"z", at::zeros({2})}});  // replaced
  REQUIRE(same(data::open_safetensors(path)->load("z"), at::zeros({2})));
  REQUIRE(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("safetensors: hostile headers are refused with file, tensor, found and expected") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  write_text(path, safetensors_bytes(good, 32));
  REQUIRE(refusal(path) == "nothing was refused");
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string json = good;
    json.replace(json.find(from), from.size(), to);
    return json;
  };
  struct Case {
    std::string bytes, message;
  };
  const std::string tail = std::string(32, '\0');
  const std::vector<Case> cases = {
      {bytes_of<uint64_t>(1 << 20) + good + tail, "claims 1048576 bytes"},
      {bytes_of<uint64_t>(~uint64_t{0}) + good + tail, "claims 18446744073709551615 bytes"},
      {safetensors_bytes(good, 31), "tensor 'b': its data_offsets are [24, 32], the file has 31 bytes"},
      {safetensors_bytes(good, 33), "fill 32 bytes, the file has 33"},
      {safetensors_bytes(edited("[24,32]", "[16,24]"), 32),
       "tensor 'b': its data start at 16, expected 24 where 'a' ends: they overlap"},
      {safetensors_bytes(edited("[24,32]", "[25,33]"), 33),
       "tensor 'b': its data start at 25, expected 24 where 'a' ends: a hole"},
      {safetensors_bytes(edited("[0,24]", "[24,0]"), 32), "data_offsets are [24, 0]"},
      {safetensors_bytes(edited("[2,3]", "[2,4]"), 32),
       "tensor 'a': float32 of shape [2, 4] needs 32 bytes, its data_offsets [0, 24] hold 24"},
      {safetensors_bytes(edited("[2,3]", "[4294967296,4294967296,4294967296]"), 32), "tensor 'a': absurd shape"},
      {safetensors_bytes(edited("[2,3]", "[0,18446744073709551615]"), 32),
       "absurd shape with an extent of 18446744073709551615"},
      {safetensors_bytes(edited("[2,3]", "[0,9007199254740992,9007199254740992]"), 32), "absurd shape"},
      {safetensors_bytes(edited("[2,3]", "[-2,3]"), 32), "tensor 'a': 'shape' has the negative number -2"},
      {safetensors_bytes(edited("[2,3]", "[2.5,3]"), 32), "has the number 2.5"},
      {safetensors_bytes(edited("[2,3]", "[[2],3]"), 32), "'shape' has a list"},
      {safetensors_bytes(edited("[2,3]", "null"), 32), "'shape' has null"},
      {safetensors_bytes(edited("[0,24]", "[0,24,24]"), 32), "has 3 data_offsets, expected 2"},
      {safetensors_bytes(edited("F32", "F31"), 32), "unknown dtype 'F31'"},
      {safetensors_bytes(edited("\"b\"", "\"a\""), 32), "two entries are named 'a'"},
      {safetensors_bytes(edited("\"dtype\":\"F32\",", ""), 32), "tensor 'a' lacks dtype, shape or data_offsets"},
      {safetensors_bytes(edited("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\""), 32),
       "expected one each of dtype"},
      {safetensors_bytes(edited("\"shape\"", "\"share\""), 32), "'share' has a list"},
      {safetensors_bytes(R"({"__metadata__":{"a":1}})", 0), "'a' in __metadata__ is a number, expected a text"},
      {safetensors_bytes(R"({"a":[1]})", 0), "entry 'a' is a list"},
      {safetensors_bytes(R"({"a":{"dtype":{}}})", 0), "'dtype' has an object"},
      {safetensors_bytes(R"({"a":)", 0), "is no JSON: error at its byte"},
      {safetensors_bytes(std::string(good) + "x", 32), "is no JSON"},
      {safetensors_bytes("{\"\xff\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1), "is no JSON"},
      {safetensors_bytes(R"({"":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1), "has a name of 0 bytes"},
      {safetensors_bytes(R"({"a\u001b[2J":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1), "or no text"},
      {safetensors_bytes(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1),
       "3 elements of 4 bits do not fill"},
  };
  for (const auto& [bytes, message] : cases) {
    write_text(path, bytes);
    INFO(message);
    const std::string found = refusal(path);
    REQUIRE_THAT(found, Contains(message));
    REQUIRE_THAT(found, Contains("x.safetensors"));
  }
  // Deep nesting costs no memory or stack.
  write_text(path, safetensors_bytes("{\"a\":" + std::string(4'000'000, '['), 0));
  REQUIRE_THAT(refusal(path), Contains("entry 'a' is a list"));
}

TEST_CASE("safetensors: types that LibTorch has not are listed and not loaded") {
  const TemporaryFolder folder;
  const auto path = folder / "f4.safetensors";
  write_text(path, safetensors_bytes(R"({"w":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]},)"
                                     R"("f8":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[3,5]}}   )",
                                     5));
  const auto file = data::open_checkpoint(path);
  REQUIRE(file->find("w")->dtype == "F4");
  REQUIRE_FALSE(file->find("w")->type.has_value());
  REQUIRE_THROWS_WITH(file->load("w"), Contains("tensor 'w' is of type F4, which cannot be loaded"));
  REQUIRE(file->load("f8").scalar_type() == at::kFloat8_e4m3fn);
  REQUIRE_THROWS_WITH(file->load("f9"), Contains("has no tensor 'f9'") && Contains("did you mean f8?"));
}

TEST_CASE("safetensors: a boolean of any byte loads as true") {
  const TemporaryFolder folder;
  write_text(folder / "b.safetensors",
             safetensors_bytes(R"({"m":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 0) +
                 std::string("\x00\x01\xfe", 3));
  const at::Tensor mask = data::open_checkpoint(folder / "b.safetensors")->load("m");
  REQUIRE(mask.sum().item<int64_t>() == 2);
}

TEST_CASE("safetensors: a file cut off after opening is told when it is read") {
  const TemporaryFolder folder;
  data::save_safetensors(folder / "a.safetensors", {{"w", at::ones({1000})}});
  const auto file = data::open_checkpoint(folder / "a.safetensors");
  fs::resize_file(folder / "a.safetensors", 500);
  REQUIRE_THROWS_WITH(file->load("w"), Contains("cannot read 4000 bytes"));
}
