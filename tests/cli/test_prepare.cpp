#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/text/token_set.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

const std::string golden = MONARCH_SOURCE_DIR "/tests/golden/tokenizers/";
const std::string gpt2 = "--tokenizer gpt2 --vocabulary '" + golden + "gpt2' ";
const std::string bert = "--tokenizer bert --vocabulary '" + golden + "bert' ";

std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "Line " + std::to_string(i) + " of the king's speech, naïve and long.\n";
  return text;
}

nlohmann::json prepare(const TemporaryFolder& folder, const std::string& arguments) {
  const auto result = run_monarch(folder.path(), "prepare text " + arguments + " --json");
  INFO(arguments << ": " << result.errors);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(result.output);
}

}  // namespace

TEST_CASE("monarch prepare text, decode, info: tokens give the text back, document by document") {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", lines(30) + "\n \n" + lines(10));
  const auto json = prepare(folder, "a.txt " + gpt2 + "-o out --documents line --validation-fraction 0.3");
  REQUIRE(json["sources"][0]["documents"] == 40);
  REQUIRE(json["sources"][0]["empty"] == 2);
  REQUIRE(json["splits"]["train"]["documents"].get<int>() + json["splits"]["validation"]["documents"].get<int>() == 40);
  REQUIRE(json["splits"]["validation"]["documents"].get<int>() > 3);
  const auto decode = run_monarch(folder.path(), "prepare decode out --count 100000 --verify --json");
  INFO(decode.errors);
  REQUIRE(decode.exit_code == 0);
  const auto found = nlohmann::json::parse(decode.output);
  REQUIRE(found["tokens"].size() == json["splits"]["train"]["tokens"].get<size_t>());
  // Every training line with a separator behind, in order.
  std::string rest = found["text"].get<std::string>();
  int documents = 0;
  for (size_t at; (at = rest.find("<|endoftext|>")) != std::string::npos; ++documents) {
    REQUIRE_THAT(rest.substr(0, at), Catch::Matchers::Matches("Line [0-9]+ of the king's speech, naïve and long\\.\n"));
    rest = rest.substr(at + 13);
  }
  REQUIRE(rest.empty());
  REQUIRE(documents == json["splits"]["train"]["documents"].get<int>());
  const auto some = run_monarch(folder.path(), "prepare decode out --first 3 --count 5 --split validation");
  REQUIRE(some.exit_code == 0);
  REQUIRE_FALSE(some.output.empty());
  const auto info = run_monarch(folder.path(), "info out");
  REQUIRE_THAT(info.output, Contains("gpt2, 601 tokens") && Contains("2 blank documents") && Contains("validation"));
  REQUIRE(nlohmann::json::parse(run_monarch(folder.path(), "info out --json").output)["format"] == "monarch-tokens");
}

TEST_CASE("monarch prepare text: splits and tokens depend on the seed alone, not on threads") {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", lines(20000));  // more than one batch of pieces
  const std::string options = "a.txt " + bert + "--documents line --validation-fraction 0.1 ";
  const auto first = prepare(folder, options + "-o a --threads 1")["splits"];
  REQUIRE(prepare(folder, options + "-o b --threads 3")["splits"] == first);
  REQUIRE(prepare(folder, options + "-o c --seed 1")["splits"] != first);
  REQUIRE(prepare(folder, options + "-o a --threads 2")["splits"] == first);  // over what is there
}

TEST_CASE("monarch prepare text: a long document in pieces is the document") {
  const TemporaryFolder folder;
  const std::string text = lines(30000);
  write_text(folder / "a.txt", text);
  for (const auto& options : {gpt2, bert}) {
    const auto json = prepare(folder, "a.txt " + options + "-o out --no-separator --validation-fraction 0");
    REQUIRE(json["separator"].is_null());
    const data::TokenSet set(folder / "out");
    REQUIRE(set.split("train").size() == static_cast<int64_t>(set.tokenizer()->encode(text).size()));
    REQUIRE(set.split("validation").size() == 0);
  }
}

TEST_CASE("monarch prepare text: validation files, articles of WikiText, invalid UTF-8") {
  const TemporaryFolder folder;
  write_text(folder / "wiki.train", " = One = \n text \n = = Part = = \n more \n = Two = \n text \n");
  write_text(folder / "wiki.valid", " = Three = \n text \n");
  write_text(folder / "bad.txt",
             "good\nb\xff"
             "d \xe2\x82\n");
  const auto json = prepare(folder, "wiki.train --validation wiki.valid --wikitext " + gpt2 + "-o out");
  REQUIRE(json["splits"]["train"]["documents"] == 2);
  REQUIRE(json["splits"]["validation"]["documents"] == 1);
  const auto refused = run_monarch(folder.path(), "prepare text bad.txt -o bad " + gpt2);
  REQUIRE(refused.exit_code == 3);
  REQUIRE_THAT(refused.errors, Contains("bad.txt:2") && Contains("0xff at offset 6") && Contains("--replace-invalid"));
  REQUIRE_FALSE(fs::exists(folder / "bad"));
  const auto replaced = prepare(folder, "bad.txt --replace-invalid --validation-fraction 0 -o bad " + gpt2);
  REQUIRE(replaced["sources"][0]["replaced"] == 2);
  REQUIRE_THAT(run_monarch(folder.path(), "prepare decode bad").output, Contains("good\nb\ufffdd \ufffd\n"));
}

TEST_CASE("monarch prepare: wrong usage and damaged folders end in a message and no output") {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", lines(3));
  write_text(folder / "empty.txt", "");
  write_text(folder / "vocab.txt", "[UNK]\na\n");
  prepare(folder, "a.txt " + gpt2 + "-o out --validation-fraction 0");
  fs::copy(folder / "out", folder / "damaged", fs::copy_options::recursive);
  fs::copy(folder / "out", folder / "cut", fs::copy_options::recursive);
  fs::copy(folder / "out", folder / "other", fs::copy_options::recursive);
  std::string tokens = read_bytes(folder / "damaged/train.npy");
  tokens.back() ^= 1;
  write_text(folder / "damaged/train.npy", tokens);
  fs::copy_file(folder / "out/validation.npy", folder / "cut/train.npy", fs::copy_options::overwrite_existing);
  write_text(folder / "other/vocabulary/vocab.bpe", "#version: 0.2\n");
  struct Case {
    std::string arguments;
    int exit_code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"text a.txt -o o", 2, "--tokenizer"},
      {"text a.txt -o o --tokenizer t5 --vocabulary .", 2, "t5"},
      {"text a.txt a.txt -o o " + gpt2, 2, "is named twice"},
      {"text a.txt --validation a.txt -o o " + gpt2, 2, "is named twice"},
      {"text a.txt --validation empty.txt --validation-fraction 0.1 -o o " + gpt2, 2, "--validation-fraction"},
      {"text a.txt --wikitext --documents line -o o " + gpt2, 2, "--wikitext"},
      {"text a.txt --validation-fraction 2 -o o " + gpt2, 2, "--validation-fraction"},
      {"text a.txt -o o --tokenizer gpt2", 2, "without --vocabulary"},
      {"text a.txt -o o --tokenizer bytes --vocabulary .", 2, "with --vocabulary"},
      {"text a.txt -o o --vocabulary-size 300 " + bert, 2, "--vocabulary-size"},
      {"text a.txt -o o --vocabulary-size 256 " + gpt2, 2, "at least 257"},
      {"text a.txt -o o --vocabulary-size 100000 " + gpt2, 2, "601 tokens"},
      {"text none.txt -o o " + gpt2, 3, "none.txt: no such file"},
      {"text empty.txt -o o " + gpt2, 3, "is empty"},
      {"text a.txt -o a.txt " + gpt2, 3, "output folder expected"},
      {"text a.txt -o o --tokenizer gpt2 --vocabulary .", 3, "holds no vocabulary of gpt2"},
      {"text a.txt -o o --tokenizer gpt2 --vocabulary none", 3, "no such folder"},
      {"text a.txt -o o --tokenizer bert --vocabulary .", 3, "has no token [SEP]"},
      {"decode none", 3, "no such file"},
      {"decode out --split test", 2, "there are: train, validation"},
      {"decode out --first 100000", 2, "--first 100000"},
      {"decode damaged --verify", 3, "CRC-32"},
      {"decode cut", 3, "tokens.json says"},
      {"decode other", 3, "SHA-1"},
  };
  for (const auto& [arguments, exit_code, message] : cases) {
    const auto result = run_monarch(folder.path(), "prepare " + arguments);
    INFO(arguments << ": " << result.errors);
    REQUIRE(result.exit_code == exit_code);
    REQUIRE_THAT(result.errors, Contains(message));
    REQUIRE_FALSE(fs::exists(folder / "o"));
    REQUIRE_FALSE(fs::exists(folder / ".o.unfinished"));
  }
}

TEST_CASE("monarch prepare text: bytes and the beginning of a vocabulary give the text back") {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", lines(50));
  double last = 1e9;
  for (const std::string options : {"--tokenizer bytes", "--vocabulary-size 400 " + gpt2, gpt2}) {
    const auto json = prepare(folder, "a.txt --validation-fraction 0 --no-separator -o out " + options);
    REQUIRE(json["tokenizer"] == "gpt2");
    REQUIRE(json["vocabulary"] == (options == gpt2 ? 601 : options.starts_with("--tok") ? 257 : 400));
    REQUIRE(json["splits"]["train"]["tokens"].get<double>() < last);
    last = json["splits"]["train"]["tokens"];
    REQUIRE(run_monarch(folder.path(), "prepare decode out --count 100000 --verify").output == lines(50));
    fs::remove_all(folder / "out");
  }
}

TEST_CASE("monarch prepare text: a killed run goes on, and its files are those of an uninterrupted one") {
  const TemporaryFolder folder;
  write_text(folder / "a.txt", lines(3));
  write_text(folder / "b.txt", lines(200000));
  write_text(folder / "c.txt", lines(20000));
  const std::string program = MONARCH_PROGRAM;
  for (const std::string documents : {"line", "file"}) {
    const std::string arguments =
        "prepare text a.txt b.txt c.txt --seed 3 --validation-fraction 0.3 --save-minutes 0 "
        "--threads 1 --documents " +
        documents + " " + gpt2 + "-o out";
    const fs::path state = folder / ".out.unfinished/state.json";
    // Killed twice, each time when a new state within b.txt is there.
    for (int kill = 0; kill < 2; ++kill) {
      write_text(folder / "before", fs::exists(state) ? read_bytes(state) : "");
      write_text(folder / "kill.sh", "'" + program + "' -q " + arguments +
                                         " &\npid=$!\nstate=.out.unfinished/state.json\n"
                                         "while kill -0 $pid && { ! grep -q '\"file\": 1,' $state || cmp -s before "
                                         "$state; }; do sleep 0.01; done\n"
                                         "kill -9 $pid\nwait $pid\n");
      const auto killed = run_command("cd '" + folder.path().string() + "' && sh kill.sh 2>&1");
      INFO(killed.output);
      REQUIRE(killed.exit_code == 128 + 9);
      REQUIRE(fs::exists(state));
      REQUIRE_FALSE(fs::exists(folder / "out"));
    }
    const auto other = run_monarch(folder.path(), arguments + " --no-separator");
    REQUIRE(other.exit_code == 2);
    REQUIRE_THAT(other.errors, Contains("unfinished run") && Contains("other separator") && Contains("--restart"));
    const auto resumed = run_monarch(folder.path(), arguments);
    INFO(resumed.errors);
    REQUIRE(resumed.exit_code == 0);
    REQUIRE_THAT(resumed.errors, Contains("going on in b.txt"));
    REQUIRE_FALSE(fs::exists(folder / ".out.unfinished"));
    fs::rename(folder / "out", folder / "resumed");
    REQUIRE(run_monarch(folder.path(), arguments).exit_code == 0);
    for (const auto* name : {"train.npy", "validation.npy"})
      REQUIRE(read_bytes(folder / "resumed" / name) == read_bytes(folder / "out" / name));
    auto a = read_json(folder / "resumed/tokens.json"), b = read_json(folder / "out/tokens.json");
    a.erase("provenance"), b.erase("provenance");
    REQUIRE(a == b);
    fs::remove_all(folder / "out");
    fs::remove_all(folder / "resumed");
  }
}
