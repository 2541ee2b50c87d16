// Fuzz targets of tokenizers, their vocabularies and token files.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/text_seeds.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/text/documents.hpp"
#include "monarch/data/text/glue.hpp"
#include "monarch/data/text/token_set.hpp"
#include "monarch/data/text/tokenizer.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/words.hpp"
#include "support/support.hpp"

namespace monarch::fuzz {
namespace {

const std::filesystem::path golden = std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/tokenizers";

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

std::string_view view(const uint8_t* bytes, size_t count) {
  return {reinterpret_cast<const char*>(bytes), count};
}

/// A vocabulary that has been accepted must encode and decode.
void use(const data::Tokenizer& tokenizer, std::string_view text) {
  for (const auto special : {data::SpecialTokens::as_text, data::SpecialTokens::recognised}) {
    const auto ids = tokenizer.encode(text, special);
    for (const int32_t id : ids)
      if (id < 0 || id >= tokenizer.size()) __builtin_trap();
    const std::string back = tokenizer.decode(ids);
    if (tokenizer.kind() == "gpt2" && back != text) __builtin_trap();
  }
}

constexpr std::string_view sample = "It's the end, [MASK] Ünïcödé 中文 <|endoftext|>  \n x";

}  // namespace

void encode_text(const uint8_t* bytes, size_t count) {
  static const auto gpt2 = data::load_tokenizer("gpt2", golden / "gpt2");
  static const auto bert = data::load_tokenizer("bert", golden / "bert");
  std::string text(view(bytes, count));
  const size_t bad = data::find_invalid_utf8(text);
  try {
    gpt2->encode(text);
    if (bad != std::string::npos) __builtin_trap();
  } catch (const DataError&) {
    if (bad == std::string::npos) __builtin_trap();
  }
  int64_t replaced = 0;
  text = data::replace_invalid_utf8(text, replaced);
  if (data::find_invalid_utf8(text) != std::string::npos || (replaced > 0) != (bad != std::string::npos))
    __builtin_trap();
  use(*gpt2, text);
  use(*bert, text);
  for (const auto kind : {data::DocumentKind::line, data::DocumentKind::paragraph, data::DocumentKind::wikitext}) {
    size_t sum = 0;
    for (size_t at = 0; at < text.size();) sum += data::next_document(text, at, kind).size();
    if (sum != text.size()) __builtin_trap();
  }
  const size_t cut = data::safe_cut(text, text.size() / 2);
  auto parts = gpt2->encode(std::string_view(text).substr(0, cut));
  gpt2->encode(std::string_view(text).substr(cut), parts);
  if (parts != gpt2->encode(text)) __builtin_trap();
}

void bpe_vocabulary(const uint8_t* bytes, size_t count) {
  const std::string_view all = view(bytes, count);
  const size_t end = std::min(all.find('\0'), all.size());  // the merges are behind a zero
  try {
    use(*data::parse_gpt2({all.substr(0, end), "v.json"}, {all.substr(std::min(end + 1, all.size())), "m.bpe"}),
        sample);
  } catch (const DataError&) {
  }
}

void wordpiece_vocabulary(const uint8_t* bytes, size_t count) {
  try {
    use(*data::parse_bert({view(bytes, count), "vocab.txt"}), sample);
  } catch (const DataError&) {
  }
}

void tokenizer_json(const uint8_t* bytes, size_t count) {
  try {
    use(*data::parse_tokenizer_json({view(bytes, count), "tokenizer.json"}), sample);
  } catch (const DataError&) {
  }
}

void token_set(const uint8_t* bytes, size_t count) {
  try {
    data::token_set_json(data::parse_token_set(view(bytes, count), "tokens.json"));
  } catch (const DataError&) {
  }
}

void token_file(const uint8_t* bytes, size_t count) {
  const MemoryFile memory(bytes, count);
  try {
    const data::TokenFile file(memory.path(), 1000);
    file.checksum();
    if (file.read(0, file.size()).numel() != file.size()) __builtin_trap();
  } catch (const DataError&) {
  }
}

void glue(const uint8_t* bytes, size_t count) {
  for (const data::GlueTask& task : data::glue_tasks()) {
    try {
      const auto file = data::parse_glue(task, view(bytes, count), "a.tsv");
      if (file.examples.empty()) __builtin_trap();
      for (const auto& example : file.examples)
        if (!(example.label >= 0 && example.label <= 5)) __builtin_trap();
    } catch (const DataError&) {
    }
  }
}

std::vector<std::string> text_seeds() {
  return {std::string(sample), " = Title = \n \n Text , with @-@ marks . \n\n = = Section = = \n 3 @.@ 14",
          "int main() {\n\treturn f(\"a\\n\");  // x\r\n}\n",
          "👍 👨‍👩‍👧‍👦 नमस्ते שָׁלוֹם e\u0301\u0323 \u3000\u00a0x"};
}

std::vector<std::string> bpe_vocabulary_seeds() {
  // Bytes and a few merges only, so that mutations often meet what matters.
  const auto whole = nlohmann::json::parse(file_bytes(golden / "gpt2/encoder.json"));
  nlohmann::json few = nlohmann::json::object();
  for (const auto& [token, id] : whole.items())
    if (id < 262) few[token] = id;
  std::istringstream lines(file_bytes(golden / "gpt2/vocab.bpe"));
  std::string merges, line;
  for (int i = 0; i < 5 && std::getline(lines, line); ++i) merges += line + "\n";
  return {few.dump() + '\0' + merges, R"({"a": 0, "b": 1, "ab": 2})" + std::string(1, '\0') + "a b\n"};
}

std::vector<std::string> wordpiece_vocabulary_seeds() {
  return {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nt\n##h\nthe\n##e\n'\nü\n中\n", file_bytes(golden / "bert/vocab.txt")};
}

std::vector<std::string> tokenizer_json_seeds() {
  return {file_bytes(golden / "bert_tokenizer.json"), file_bytes(golden / "gpt2_tokenizer.json")};
}

std::vector<std::string> token_set_seeds() {
  data::TokenSetInfo info;
  info.tokenizer = "gpt2";
  info.vocabulary = 601;
  info.vocabulary_files = {"encoder.json", "vocab.bpe"};
  info.separator = 600;
  info.documents = "line";
  info.splits["train"] = {.tokens = 10, .documents = 2, .bytes = 30, .checksum = 7};
  info.sources = {{.file = "a.txt", .bytes = 31, .documents = 2, .empty = 1, .replaced = 3}};
  return {data::token_set_json(info)};
}

std::vector<std::string> token_file_seeds() {
  const test::TemporaryFolder folder;
  for (const int64_t vocabulary : {1000, 100000}) {
    data::TokenWriter writer(folder / std::to_string(vocabulary), vocabulary);
    writer.append(data::TokenIds{1, 2, 3, 999});
    writer.finish();
  }
  return {file_bytes(folder / "1000"), file_bytes(folder / "100000")};
}

std::vector<std::string> glue_seeds() {
  return {"gj04\t1\t\tThe cat.\ngj04\t0\t*\tCat the.\n", "index\tsentence1\tsentence2\tlabel\r\n0\ta\tb\t1\r\n",
          "\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\ta \"b\tc\n",
          "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.750\n",
          "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t0\n1\t2\n"};
}

}  // namespace monarch::fuzz
