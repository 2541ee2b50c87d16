#pragma once
// Valid vocabularies, texts and token files that the fuzz targets start from.

#include <string>
#include <vector>

namespace monarch::fuzz {

std::vector<std::string> text_seeds();
std::vector<std::string> bpe_vocabulary_seeds();
std::vector<std::string> wordpiece_vocabulary_seeds();
std::vector<std::string> tokenizer_json_seeds();
std::vector<std::string> token_set_seeds();
std::vector<std::string> token_file_seeds();
std::vector<std::string> glue_seeds();

}  // namespace monarch::fuzz
