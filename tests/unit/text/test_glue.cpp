#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/data/text/glue.hpp"
#include "support/support.hpp"
#include "text_files.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

data::GlueFile parse(const std::string& task, const std::string& text) {
  return data::parse_glue(data::glue_task(task), text, "a.tsv");
}

/// A row of each task as its published files have them: with labels, without, and the class or score of the first.
struct Sample {
  std::string labelled, unlabelled;
  double label = 0;
  std::string first, second;
};

const std::map<std::string, Sample> samples = {
    {"CoLA",
     {"gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tHis \"one.\n", "index\tsentence\n0\tBill sits.\n", 1,
      "Our friends won't buy this.", ""}},
    {"SST-2", {"sentence\tlabel\nhide new secretions \t0\n", "index\tsentence\n0\tuneasy\n", 0, "hide new secretions ", ""}},
    {"MRPC",
     {"\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t702876\t702977\tAmrozi \"said.\tHe did.\r\n",
      "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA.\tB.\n", 1, "Amrozi \"said.", "He did."}},
    {"STS-B",
     {"index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
      "0\tmain\tMSR\t2012\t0001\tnone\tnone\tA plane.\tAn air plane.\t3.750\n",
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\n"
      "0\tmain\tMSR\t2012\t0001\tnone\tnone\tA.\tB.\n",
      3.75, "A plane.", "An air plane."}},
    {"QQP",
     {"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n133273\t213221\t213222\tHow?\tWhy?\t0\n",
      "id\tquestion1\tquestion2\n0\tA?\tB?\n", 0, "How?", "Why?"}},
    {"MNLI",
     {"index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
      "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
      "0\t31193\t31193n\tgov\t( a )\t( b )\t(R a)\t(R b)\tCream skims.\tIt does.\tneutral\tneutral\n",
      "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
      "sentence2_parse\tsentence1\tsentence2\n0\t3\t3n\tgov\t( a )\t( b )\t(R a)\t(R b)\tA.\tB.\n",
      1, "Cream skims.", "It does."}},
    {"QNLI",
     {"index\tquestion\tsentence\tlabel\n0\tWhat?\tAs of.\tnot_entailment\n",
      "index\tquestion\tsentence\n0\tWhat?\tAs of.\n", 1, "What?", "As of."}},
    {"RTE",
     {"index\tsentence1\tsentence2\tlabel\n0\tNo weapons.\tWeapons.\tentailment\n",
      "index\tsentence1\tsentence2\n0\tA.\tB.\n", 0, "No weapons.", "Weapons."}},
    {"WNLI",
     {"index\tsentence1\tsentence2\tlabel\n0\tThe drain.\tThe hair.\t1\n", "index\tsentence1\tsentence2\n0\tA.\tB.\n", 1,
      "The drain.", "The hair."}}};

}  // namespace

TEST_CASE("every task reads its published layouts, with labels and without") {
  REQUIRE(data::glue_tasks().size() == 9);
  for (const data::GlueTask& task : data::glue_tasks()) {
    INFO(task.name);
    const Sample& sample = samples.at(task.name);
    const auto file = parse(task.name, sample.labelled);
    REQUIRE(file.labelled);
    REQUIRE(file.examples.size() == (task.name == "CoLA" ? 2 : 1));
    const auto& example = file.examples.front();
    REQUIRE(example.first == sample.first);
    REQUIRE(example.second.value_or("") == sample.second);
    REQUIRE(example.second.has_value() == !sample.second.empty());
    REQUIRE(example.label == sample.label);
    const auto test = parse(task.name, sample.unlabelled);
    REQUIRE_FALSE(test.labelled);
    REQUIRE(test.examples.size() == 1);
    REQUIRE(test.examples[0].index == "0");
    // A row that ends early, and one that goes on, are not taken for something else.
    const std::string row = sample.labelled.substr(sample.labelled.rfind('\n', sample.labelled.size() - 2) + 1);
    REQUIRE_THROWS_WITH(parse(task.name, sample.labelled + "more\t" + row), Contains("columns, expected"));
    if (task.name != "QQP") REQUIRE_THROWS_WITH(parse(task.name, sample.labelled + "1\n"), Contains("1 columns, expected"));
    REQUIRE_THROWS_AS(parse(task.name, ""), DataError);
  }
}

TEST_CASE("the published files of GLUE are read whole") {
  struct Expected {
    std::string task, file;
    size_t rows;
    double ones;
  };
  for (const auto& [task, name, rows, ones] :
       {Expected{"WNLI", "train.tsv", 635, 312}, {"WNLI", "dev.tsv", 71, 31}, {"WNLI", "test.tsv", 146, 0},
        {"QNLI", "dev.tsv", 5463, 2761}}) {
    const auto file = data::read_glue(data::glue_task(task), data_file("glue/" + task + "/" + name));
    REQUIRE(file.examples.size() == rows);
    REQUIRE(file.labelled == (name != "test.tsv"));
    double sum = 0;
    for (const auto& example : file.examples) sum += example.label;
    REQUIRE(sum == ones);
  }
}

TEST_CASE("broken GLUE files are refused by file and line") {
  const std::string head = "index\tsentence1\tsentence2\tlabel\n";
  REQUIRE_THROWS_WITH(parse("WNLI", head + "0\ta\tb\t1\n1\ta\tb\t2\n"), Contains("a.tsv:3: label '2', expected 0 or 1"));
  REQUIRE_THROWS_WITH(parse("RTE", head + "0\ta\tb\t1\n"), Contains("entailment or not_entailment"));
  REQUIRE_THROWS_WITH(parse("WNLI", head + "0\ta\xff\tb\t1\n"), Contains("a.tsv:2: not valid UTF-8: byte 0xff"));
  REQUIRE_THROWS_WITH(parse("WNLI", head), Contains("holds no example of WNLI"));
  REQUIRE_THROWS_WITH(parse("QNLI", head + "0\ta\tb\t1\n"), Contains("names no columns 'question' and 'sentence'"));
  const std::string& sts = samples.at("STS-B").labelled;
  const std::string row = "0\tm\tM\t2012\t1\tn\tn\tA.\tB.\t";
  REQUIRE(parse("STS-B", sts + row + "5\n").examples.back().label == 5);
  for (const std::string score : {"5.1", "-1", "nan", "x", "", "3.0x"})
    REQUIRE_THROWS_WITH(parse("STS-B", sts + row + score + "\n"), Contains("a.tsv:3: score '" + score));
  const auto blank = parse("WNLI", head + "\n0\ta\tb\t1\n\n");
  REQUIRE(blank.blank == 2);
  REQUIRE(blank.examples.at(0).line == 3);
  REQUIRE(parse("QQP", samples.at("QQP").labelled + "5\tonly\n").cut_off == 1);
  REQUIRE(parse("WNLI", head + "0\ta\t\t1").examples.at(0).second == "");
  REQUIRE_THROWS_WITH(data::glue_task("QNLY"), Contains("did you mean 'QNLI'?"));
  REQUIRE(data::glue_task("sst2").name == "SST-2");
}

TEST_CASE("pairs are cut to the lengths that HuggingFace's fast tokenizers keep") {
  const auto golden = nlohmann::json::parse(file_text(std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/glue.json"));
  REQUIRE(golden["cuts"].size() >= 10);
  for (const auto& cut : golden["cuts"]) {
    INFO(cut.dump());
    const auto kept = data::longest_first(cut[0], cut[1], cut[2]);
    REQUIRE(kept.first == cut[3]);
    REQUIRE(kept.second == cut[4]);
  }
}

TEST_CASE("examples are encoded as [CLS] a [SEP] b [SEP], cuts are counted, batches padded") {
  const auto tokenizer = data::load_tokenizer("bert", golden_tokenizers / "bert");
  const auto symbols = data::PairSymbols::of(*tokenizer, "golden");
  const std::vector<data::GlueExample> examples = {{"0", "a b c", "a"}, {"1", "a a a a a a a a a a a a", "b"}, {"2", "", {}}};
  const auto encoding = data::encode_glue(examples, *tokenizer, 10);
  REQUIRE(encoding.truncated == 1);
  const auto& pair = encoding.pairs[0];
  REQUIRE(pair.tokens.front() == symbols.classify);
  REQUIRE(pair.tokens.back() == symbols.separate);
  REQUIRE(pair.tokens[static_cast<size_t>(pair.first_length) - 1] == symbols.separate);
  REQUIRE(encoding.pairs[1].tokens.size() == 10);
  REQUIRE(encoding.pairs[2].tokens == data::TokenIds{symbols.classify, symbols.separate});
  const auto batch = data::pad_pairs(encoding.pairs, symbols.pad);
  REQUIRE(batch.ids.size(0) == 3);
  REQUIRE(batch.ids.size(1) == 10);
  REQUIRE(at::equal(batch.mask.sum(1), at::tensor(std::vector<int64_t>{static_cast<int64_t>(pair.tokens.size()), 10, 2})));
  REQUIRE(batch.types[0].sum().item<int64_t>() == 2);
  REQUIRE_THROWS_AS(data::encode_glue(examples, *tokenizer, 4), ConfigError);
}
