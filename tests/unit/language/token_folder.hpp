#pragma once
// A small prepared text for tests of language models.

#include <filesystem>
#include <string>

#include "monarch/core/files.hpp"
#include "monarch/data/text/small_vocabulary.hpp"
#include "monarch/data/text/token_set.hpp"

namespace monarch::test {

/// `folder` as `monarch prepare text --tokenizer bytes` would make it of two texts.
inline void write_token_folder(const std::filesystem::path& folder, const std::string& train,
                               const std::string& validation) {
  std::filesystem::create_directories(folder / "vocabulary");
  const auto vocabulary = data::byte_vocabulary();
  const std::filesystem::path files[] = {folder / "vocabulary/vocab.json", folder / "vocabulary/merges.txt"};
  write_file_atomically(files[0], vocabulary.vocabulary);
  write_file_atomically(files[1], vocabulary.merges);
  const auto tokenizer = data::load_tokenizer("gpt2", folder / "vocabulary");
  data::TokenSetInfo info;
  info.tokenizer = "gpt2";
  info.vocabulary = tokenizer->size();
  info.vocabulary_hash = data::vocabulary_hash({files[0], files[1]});
  info.vocabulary_files = {"vocab.json", "merges.txt"};
  info.separator = tokenizer->separator();
  info.documents = "file";
  const auto write = [&](const std::string& split, const std::string& text) {
    data::TokenWriter writer(folder / (split + ".npy"), info.vocabulary);
    writer.append(tokenizer->encode(text));
    writer.finish();
    info.splits[split] = {writer.tokens(), 1, static_cast<int64_t>(text.size()), writer.checksum()};
  };
  write("train", train);
  write("validation", validation);
  write_file_atomically(folder / "tokens.json", data::token_set_json(info));
}

}  // namespace monarch::test
