#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>

#include "checkpoint_checks.hpp"
#include "monarch/data/pickle.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

std::string entry(const std::string& name, const std::string& value) {
  return op::text(name) + value;
}

/// What the reader says about a checkpoint whose pickle has this body.
std::string refusal_of(const std::string& body, size_t floats = 6) {
  const TemporaryFolder folder;
  write_torch(folder / "x.pt", op::pickle(body), floats);
  return refusal(folder / "x.pt");
}

const std::string fine = op::tensor(6, 0, {2, 3}, {3, 1});

}  // namespace

TEST_CASE("pickle: a hand-made state dict is read") {
  REQUIRE(refusal_of(op::dict(entry("w", fine))) == "nothing was refused");
  const TemporaryFolder folder;
  write_torch(folder / "x.pt", op::pickle(op::dict(entry("w", fine) + entry("n", op::number(-7)) + op::number(3) +
                                                   op::dict(entry("v", op::tensor(6, 5, {1}, {1}))))));
  const auto file = data::open_checkpoint(folder / "x.pt");
  REQUIRE(file->tensors().size() == 2);
  REQUIRE(file->find("3.v") != nullptr);
  REQUIRE(file->metadata().at("n") == "-7");
  REQUIRE(file->load("w").sizes() == at::IntArrayRef({2, 3}));
}

TEST_CASE("pickle: every opcode of protocols 2 to 5") {
  std::ifstream file(MONARCH_SOURCE_DIR "/tests/golden/checkpoints/opcodes.pkl", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  const auto value = data::pickle::parse(bytes, "x");
  const auto* root = std::get_if<std::unique_ptr<data::pickle::Dict>>(&value.root->content);
  REQUIRE(root);
  const auto& entries = (*root)->entries;
  REQUIRE(entries.size() == 4);
  REQUIRE(std::get<std::unique_ptr<data::pickle::List>>(entries[0].second->content)->items.size() == 2);
  REQUIRE(std::get<double>(entries[1].second->content) == 1.5);
  REQUIRE(std::get<int64_t>(entries[2].second->content) == 32767);
  REQUIRE(std::get<int64_t>(entries[3].second->content) == -128);
  // Cut anywhere, it ends in a message.
  for (size_t length = 0; length < bytes.size(); ++length)
    REQUIRE_THROWS_AS(data::pickle::parse(std::string_view(bytes).substr(0, length), "x"), DataError);
}

TEST_CASE("pickle: calls outside the list are refused by name, and not made") {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"posix", "system"},
                                                        {"builtins", "eval"},
                                                        {"builtins", "getattr"},
                                                        {"subprocess", "Popen"},
                                                        {"torch.storage", "_load_from_bytes"},
                                                        {"torch._utils", "_rebuild_tensor_v9"},
                                                        {"torch", "load"}}) {
    const std::string message = fmt::format("calls {}.{}: refused", module, name);
    const std::string call = op::call(op::global(module, name), op::tuple(op::text("echo")));
    REQUIRE_THAT(refusal_of(op::dict(entry("w", fine) + entry("x", call))), Contains(message));
    // The same through a name on the stack (protocol 4) and through PyTorch's own indirection.
    const std::string stacked = op::text(module) + op::text(name) + "\x93";
    REQUIRE_THAT(refusal_of(op::call(stacked, op::tuple(op::text("echo")))), Contains(message));
    const std::string indirect =
        op::call(op::global("torch._tensor", "_rebuild_from_type_v2"),
                 op::tuple(op::global(module, name) + op::global("a", "b") + op::tuple(op::text("echo")) + "N"));
    REQUIRE_THAT(refusal_of(indirect), Contains(message));
  }
  // A function that is named and not called does nothing.
  REQUIRE(refusal_of(op::dict(entry("w", fine) + entry("f", op::global("os", "system")))) == "nothing was refused");
}

TEST_CASE("pickle: objects of unknown classes are noted and skipped") {
  const TemporaryFolder folder;
  const std::string object = op::global("argparse", "Namespace") + ")\x81" + op::dict(entry("lr", op::number(1))) + "b";
  write_torch(folder / "x.pt", op::pickle(op::dict(entry("w", fine) + entry("args", object))));
  const auto file = data::open_checkpoint(folder / "x.pt");
  REQUIRE(file->tensors().size() == 1);
  REQUIRE(file->notes() == std::vector<std::string>{"args: argparse.Namespace is not read"});
  // Nothing but an object: the message says what to do.
  REQUIRE_THAT(refusal_of(object), Contains("holds no tensor, but argparse.Namespace") && Contains("state_dict()"));
}

TEST_CASE("pickle: views are checked against their storage") {
  const auto message = [](const std::string& tensor) { return refusal_of(op::dict(entry("w", tensor))); };
  REQUIRE_THAT(message(op::tensor(6, 1, {2, 3}, {3, 1})),
               Contains("tensor 'w'") && Contains("reach beyond its storage of 6 elements"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2, 3}, {4, 1})), Contains("reach beyond"));
  REQUIRE_THAT(message(op::tensor(7, 0, {7}, {1})),
               Contains("should have 7 elements of 4 bytes, the archive's entry has 24 bytes"));
  REQUIRE_THAT(message(op::tensor(5, 0, {5}, {1})), Contains("should have 5 elements"));
  REQUIRE_THAT(message(op::tensor(6, -1, {2}, {1})), Contains("negative number -1"));
  REQUIRE_THAT(message(op::tensor(6, 0, {-2}, {1})), Contains("negative extent or stride, -2"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2}, {-1})), Contains("negative extent or stride"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2, 3}, {1})), Contains("shape [2, 3] and strides [1]"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2147483647, 2147483647, 2147483647}, {0, 0, 0})), Contains("absurd shape"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2147483647}, {0})), Contains("expands 24 bytes of storage to 8.0 GiB"));
  REQUIRE_THAT(message(op::tensor(6, 0, {2, 2}, {2147483647, 2147483647})), Contains("reach beyond"));
  REQUIRE_THAT(message(op::tensor(6, 0, std::vector<int32_t>(65, 1), std::vector<int32_t>(65, 1))),
               Contains("65 axes"));
  REQUIRE(message(op::tensor(6, 9, {0, 3}, {3, 1})) == "nothing was refused");
  REQUIRE(message(op::tensor(6, 2, {5, 4}, {0, 1})) == "nothing was refused");
  REQUIRE(message(op::tensor(6, 0, {2, 2, 2}, {2, 1, 1})) == "nothing was refused");  // overlapping, inside
}

TEST_CASE("pickle: whatever is no checkpoint ends in a message") {
  struct Case {
    std::string body, message;
  };
  const std::string rebuild = op::global("torch._utils", "_rebuild_tensor_v2");
  const std::vector<Case> cases = {
      {"t", "finds no mark"},
      {"R", "finds nothing on the stack"},
      {"(R", "finds nothing on the stack"},
      {"h\x05", "recalls object 5"},
      {"X\xff\xff\xff\xff", "ends at byte"},
      {std::string("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", 9), "ends at byte"},
      {"I1\n", "opcode 0x49"},
      {"\x82\x01", "opcode 0x82"},
      {op::call(op::text("f"), ")"), "calls a text, expected a function"},
      {op::call(rebuild, ")"), "has 0 arguments"},
      {op::call(rebuild, op::number(1)), "has a whole number, expected a tuple of arguments"},
      {op::call(rebuild, op::tuple(op::number(1))), "has a whole number, expected a storage"},
      {op::number(1) + "Q", "expected a tuple of arguments"},
      {op::tuple(op::text("storage") + op::global("os", "FloatStorage") + op::text("0") + op::text("cpu") +
                 op::number(6)) +
           "Q",
       "holds no tensor, but os.FloatStorage"},
      {op::tuple(op::text("weird")) + "Q", "expected 'storage'"},
      {op::number(1) + op::number(2) + "a", "appends to a whole number"},
      {"}(" + op::text("a") + "u", "a key without a value"},
      {op::number(1) + "}b", "sets the state of a whole number"},
      {"c" + std::string(5000, 'a'), "does not end"},
      {op::dict(entry("w", fine) + entry("w", fine)), "two tensors are named 'w'"},
      {op::dict(entry(std::string(2000, 'k'), fine)), "is longer than 1000 bytes"},
      {op::dict(entry("a\nb", fine)), "or no text"},
      {op::number(5), "holds no tensor, but a whole number"},
  };
  for (const auto& [body, message] : cases) {
    INFO(message);
    REQUIRE_THAT(refusal_of(body), Contains(message) && Contains("x.pt"));
  }
  REQUIRE_THROWS_WITH(data::pickle::parse("\x80\x01.", "x"), Contains("protocol 1, expected 2 to 5"));
  REQUIRE_THROWS_WITH(data::pickle::parse("", "x"), Contains("ends at byte 0"));
}

TEST_CASE("pickle: bombs stop early") {
  const auto start = std::chrono::steady_clock::now();
  // A list that contains itself.
  REQUIRE_THAT(refusal_of(std::string{']', 'q', '\0', 'h', '\0', 'a'}), Contains("nested absurdly deep"));
  // A call that rebuilds itself.
  const std::string again = op::global("torch._tensor", "_rebuild_from_type_v2");
  REQUIRE_THAT(refusal_of(op::call(again, op::tuple(again + again + ")"))), Contains("_rebuild_from_type_v2: refused"));
  // Billion laughs: 60 levels of twice the one below, of a tensor and of nothing.
  std::string doubling;
  for (char i = 0; i < 60; ++i) doubling += std::string{'q', i, 'h', i, '\x86'};
  REQUIRE_THAT(refusal_of(op::dict(entry("w", fine)) + doubling), Contains("more than 500000 tensors"));
  REQUIRE_THAT(refusal_of(std::string{']'} + doubling), Contains("nested absurdly deep or often"));
  // One tensor of 64 axes described again and again by six bytes.
  const std::vector<int32_t> axes(64, 1);
  std::string tensors = op::global("torch._utils", "_rebuild_tensor_v2");
  tensors += "q\x01";
  tensors += op::tuple(op::storage("FloatStorage", "0", 6) + op::number(0) + op::numbers(axes) + op::numbers(axes));
  tensors += "q\x02";
  for (int i = 0; i < 4000; ++i) tensors += "h\x01h\x02R0";
  REQUIRE_THROWS_WITH(data::pickle::parse(op::pickle(tensors), "x"), Contains("its objects need more than"));
  // One long list copied again and again.
  std::string copies = op::global("collections", "OrderedDict");
  copies += "q\x01](";
  for (int i = 0; i < 20000; ++i) copies += "NN\x86";
  copies += "e\x85q\x02";
  for (int i = 0; i < 20000; ++i) copies += "h\x01h\x02R0";
  REQUIRE_THROWS_WITH(data::pickle::parse(op::pickle(copies), "x"), Contains("its objects need more than"));
  REQUIRE(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <= 30);
}

TEST_CASE("torch archives: what is not as torch.save writes it ends in a message") {
  const TemporaryFolder folder;
  const auto path = folder / "x.pt";
  const std::string pickle = op::pickle(op::dict(entry("w", fine)));
  const std::string zeros(24, '\0');
  const auto message = [&](const std::vector<std::pair<std::string, std::string>>& entries, bool deflate = false) {
    write_archive(path, entries, deflate);
    return refusal(path);
  };
  REQUIRE(message({{"a/data.pkl", pickle}, {"a/data/0", zeros}}) == "nothing was refused");
  REQUIRE(message({{"data.pkl", pickle}, {"data/0", zeros}}) == "nothing was refused");
  REQUIRE_THAT(message({{"a/data.pkl", pickle}}), Contains("has no entry a/data/0"));
  REQUIRE_THAT(message({{"readme.txt", "hello"}}), Contains("0 entries named data.pkl"));
  REQUIRE_THAT(message({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}}), Contains("2 entries named data.pkl"));
  REQUIRE_THAT(message({{"a/data.pkl", pickle}, {"a/data/0", zeros}, {"a/constants.pkl", pickle}}),
               Contains("TorchScript"));
  REQUIRE_THAT(message({{"a/data.pkl", pickle}, {"a/data/0", zeros}, {"a/byteorder", "big"}}), Contains("big-endian"));
  REQUIRE_THAT(message({{"a/data.pkl", pickle + std::string(500, '\0')}, {"a/data/0", std::string(24, '\0')}}, true),
               Contains("is compressed or encrypted"));
  // Truncated, and a flipped byte of the weights.
  message({{"a/data.pkl", pickle}, {"a/data/0", std::string(24, 'x')}});
  std::string bytes = [&] {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  write_text(path, bytes.substr(0, bytes.size() - 30));
  REQUIRE_THAT(refusal(path), Contains("is no intact zip archive"));
  bytes[bytes.find("xxxx")] = 'y';
  write_text(path, bytes);
  REQUIRE_THAT(refusal(path), Contains("entry a/data/0 is damaged"));
}
