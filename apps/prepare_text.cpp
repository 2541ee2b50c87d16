#include "prepare_text.hpp"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/mapped_file.hpp"
#include "monarch/data/text/documents.hpp"
#include "monarch/data/text/small_vocabulary.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/data/text/words.hpp"

namespace monarch::apps {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr size_t piece_bytes = size_t{1} << 18;  // a long document is encoded in pieces of about this size
constexpr const char* state_file = "state.json";
constexpr const char* splits[] = {"train", "validation"};

std::string file_content(const fs::path& path) {
  const data::MappedFile file(path);
  return std::string(file.bytes());
}

/// Where an unfinished run keeps its files; one process at a time.
class WorkFolder {
 public:
  explicit WorkFolder(const fs::path& output) {
    fs::path name = fs::absolute(output).lexically_normal();
    if (name.filename().empty()) name = name.parent_path();
    std::error_code error;
    check<DataError>(
        !fs::exists(name, error) || fs::is_directory(name, error),
        [&] { return fmt::format("{}: output folder expected, found a file of that name", name.string()); },
        "choose another folder");
    path_ = name.parent_path() / fmt::format(".{}.unfinished", name.filename().string());
    fs::create_directories(path_ / "vocabulary", error);
    check<DataError>(
        !error, [&] { return fmt::format("{}: cannot be made: {}", path_.string(), error.message()); },
        "choose an output beside which you may write");
    lock_ = open((path_ / "lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    check<ConfigError>(
        lock_ >= 0 && flock(lock_, LOCK_EX | LOCK_NB) == 0,
        [&] { return fmt::format("{}: another process prepares this folder", output.string()); },
        "wait for it, or choose another output");
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!fs::exists(path_ / state_file, ignored)) fs::remove_all(path_, ignored);
    close(lock_);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }
  /// Moves files to their places, all or none, and goes.
  void commit(const fs::path& output, const std::vector<std::string>& names) {
    OutputFolder folder(output);
    for (const auto& name : names) {
      const fs::path target = folder.path(name);
      std::error_code error;
      fs::rename(path_ / name, target, error);
      if (error) fs::copy_file(path_ / name, target, error);  // the output is another file system
      check<DataError>(!error,
                       [&] { return fmt::format("{}: cannot be written: {}", target.string(), error.message()); });
    }
    fs::remove(path_ / state_file);
    folder.commit();
  }

 private:
  fs::path path_;
  int lock_ = -1;
};

/// How far a run has come.
struct Place {
  size_t file = 0;
  size_t document = 0;  ///< offset in the file's text at which the next document starts
  size_t done = 0;      ///< bytes of that document that are encoded already
};

/// Pieces of documents on their way to the files of the splits.
class Pieces {
 public:
  Pieces(const data::Tokenizer& tokenizer, std::optional<int32_t> separator, Progress& progress)
      : tokenizer_(tokenizer), separator_(separator), progress_(progress) {}

  /// `flushed(bytes)` is called when the document is on its way up to there and nothing waits.
  void add(std::string_view document, size_t at, data::TokenWriter& writer,
           const std::function<void(size_t)>& flushed) {
    while (at < document.size()) {
      const size_t end =
          document.size() - at <= 2 * piece_bytes ? document.size() : data::safe_cut(document, at + piece_bytes);
      texts_.push_back(document.substr(at, end - at));
      places_.push_back({&writer, end == document.size()});
      bytes_ += end - at;
      at = end;
      if (bytes_ >= 2 * piece_bytes * static_cast<size_t>(at::get_num_threads())) {
        flush();
        flushed(at);
      }
    }
  }
  /// Encodes and writes what is there; texts may go then.
  void flush() {
    const auto ids = tokenizer_.encode_batch(texts_);
    for (size_t i = 0; i < ids.size(); ++i) {
      places_[i].writer->append(ids[i]);
      if (places_[i].ends && separator_) places_[i].writer->append({&*separator_, 1});
    }
    progress_.advance(static_cast<int64_t>(bytes_));
    texts_.clear();
    places_.clear();
    bytes_ = 0;
  }

 private:
  struct Target {
    data::TokenWriter* writer;
    bool ends;
  };
  const data::Tokenizer& tokenizer_;
  std::optional<int32_t> separator_;
  Progress& progress_;
  std::vector<std::string_view> texts_;
  std::vector<Target> places_;
  size_t bytes_ = 0;
};

/// The text of a file as valid UTF-8: in the file, or in `replaced` where something had to be replaced.
std::string_view valid_text(const data::MappedFile& file, const TextOptions& o, data::TextSource& source,
                            std::string& replaced) {
  const std::string_view text = file.bytes();
  const size_t bad = data::find_invalid_utf8(text);
  if (bad == std::string_view::npos) return text;
  check<DataError>(
      o.replace_invalid,
      [&] {
        return fmt::format("{}:{}: not valid UTF-8: byte {:#04x} at offset {}", source.file,
                           1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n'),
                           static_cast<unsigned char>(text[bad]), bad);
      },
      "convert it (iconv -t UTF-8), or put U+FFFD in place of what is invalid (--replace-invalid)");
  replaced = data::replace_invalid_utf8(text, source.replaced);
  log::warning(fmt::format("{}: {} ill-formed parts of UTF-8, the first at offset {}, became U+FFFD", source.file,
                           source.replaced, bad));
  return replaced;
}

/// Puts the vocabulary's files into `folder`/vocabulary, and names them.
std::vector<fs::path> place_vocabulary(const TextOptions& o, const WorkFolder& folder) {
  std::vector<std::pair<std::string, std::string>> content;
  const bool bytes = o.tokenizer == "bytes";
  if (o.tokenizer == "bert" && o.vocabulary_size) {
    const auto files = data::vocabulary_files(o.tokenizer, o.vocabulary);
    const std::string vocabulary = file_content(files[0]);
    content = {{"vocab.txt", data::smaller_vocabulary({vocabulary, files[0].string()}, *o.vocabulary_size)}};
  } else if (bytes || o.vocabulary_size) {
    data::Gpt2Vocabulary small;
    if (bytes) {
      small = data::byte_vocabulary();
    } else {
      const auto files = data::vocabulary_files(o.tokenizer, o.vocabulary);
      check<ConfigError>(
          files.size() == 2, [&] { return fmt::format("--vocabulary-size: {} is one file", files[0].string()); },
          "name a folder with encoder.json (or vocab.json) and vocab.bpe (or merges.txt)");
      const std::string vocabulary = file_content(files[0]), merges = file_content(files[1]);
      small =
          data::smaller_vocabulary({vocabulary, files[0].string()}, {merges, files[1].string()}, *o.vocabulary_size);
    }
    content = {{"vocab.json", small.vocabulary}, {"merges.txt", small.merges}};
  } else {
    for (const auto& file : data::vocabulary_files(o.tokenizer, o.vocabulary))
      content.emplace_back(file.filename().string(), file_content(file));
  }
  std::vector<fs::path> files;
  for (const auto& [name, text] : content) {
    files.push_back(folder / ("vocabulary/" + name));
    write_file_atomically(files.back(), text);
  }
  return files;
}

class Preparation {
 public:
  explicit Preparation(const TextOptions& options) : o_(options), work_(options.output) {}

  data::TokenSetInfo run() {
    for (const auto* list : {&o_.files, &o_.validation})
      for (const auto& file : *list) files_.emplace_back(file, file);
    const auto vocabulary = place_vocabulary(o_, work_);
    tokenizer_ = data::load_tokenizer(o_.tokenizer == "bert" ? "bert" : "gpt2", vocabulary);
    describe(vocabulary);
    resume();
    encode();
    std::vector<std::string> names = {"train.npy", "validation.npy", "tokens.json"};
    for (const auto& file : info_.vocabulary_files) names.push_back("vocabulary/" + file);
    for (size_t i = 0; i < 2; ++i) writers_[i]->finish();
    keep_counts();
    write_file_atomically(work_ / "tokens.json", data::token_set_json(info_));
    work_.commit(o_.output, names);
    return info_;
  }

 private:
  void describe(const std::vector<fs::path>& vocabulary) {
    info_.tokenizer = tokenizer_->kind();
    info_.vocabulary = tokenizer_->size();
    info_.vocabulary_hash = data::vocabulary_hash(vocabulary);
    for (const auto& file : vocabulary) info_.vocabulary_files.push_back(file.filename().string());
    if (o_.separator) {
      const auto separator = tokenizer_->separator();
      check<DataError>(
          separator.has_value(),
          [&] {
            return fmt::format("{}: the vocabulary has no token {} to stand between documents", o_.vocabulary,
                               o_.tokenizer == "bert" ? "[SEP]" : "<|endoftext|>");
          },
          "--no-separator puts documents one behind the other");
      info_.separator = *separator;
    }
    info_.documents = o_.documents;
    info_.seed = o_.seed;
    info_.validation_fraction = o_.validation_fraction;
    info_.provenance = provenance();
    for (const char* split : splits) info_.splits[split];
  }

  /// What must be the same for a run to go on.
  json command() const {
    json sources = json::array();
    for (size_t f = 0; f < files_.size(); ++f) {
      std::error_code ignored;
      sources.push_back({fs::absolute(files_[f].first).string(), files_[f].second.bytes().size(),
                         fs::last_write_time(files_[f].first, ignored).time_since_epoch().count(),
                         f < o_.files.size() ? "train" : "validation"});
    }
    const json all{{"files, their sizes and dates", sources},
                   {"vocabulary", info_.vocabulary_hash},
                   {"documents", o_.documents},
                   {"validation fraction", o_.validation_fraction},
                   {"seed", o_.seed},
                   {"separator", o_.separator},
                   {"replacement of invalid UTF-8", o_.replace_invalid}};
    return json::parse(all.dump(-1, ' ', false, json::error_handler_t::replace));  // names of files need not be UTF-8
  }

  void resume() {
    std::ifstream stream(work_ / state_file);
    if (!stream || o_.restart) {
      stream.close();
      fs::remove(work_ / state_file);
      for (size_t i = 0; i < 2; ++i)
        writers_[i] = std::make_unique<data::TokenWriter>(work_ / (std::string(splits[i]) + ".npy"), info_.vocabulary);
      return;
    }
    const std::string name = (work_ / state_file).string();
    try {
      const json state = json::parse(stream);
      const json now = command();
      for (const auto& [key, value] : now.items())
        check<ConfigError>(
            state.at("command").at(key) == value,
            [&, &key = key] { return fmt::format("{}: an unfinished run is there with other {}", o_.output, key); },
            "give its command again to go on, or begin anew with --restart");
      const auto before = data::parse_token_set(state.at("info").dump(), name);
      info_.splits = before.splits;
      info_.sources = before.sources;
      place_ = {state.at("file"), state.at("document"), state.at("done")};
      check<DataError>(
          place_.file < files_.size() && info_.sources.size() == place_.file + 1,
          [&] {
            return fmt::format("{}: file {} of {}, with counts of {}", name, place_.file, files_.size(),
                               info_.sources.size());
          },
          "begin anew with --restart");
    } catch (const json::exception& error) {
      fail<DataError>(fmt::format("{}: {}", name, error.what()), "begin anew with --restart");
    }
    for (size_t i = 0; i < 2; ++i) {
      const data::TokenSplit& split = info_.splits[splits[i]];
      writers_[i] = std::make_unique<data::TokenWriter>(work_ / (std::string(splits[i]) + ".npy"), info_.vocabulary,
                                                        split.tokens, split.checksum);
    }
    log::info(fmt::format("going on in {}, {} tokens are there", files_[place_.file].first,
                          thousands(info_.splits["train"].tokens + info_.splits["validation"].tokens)));
  }

  void keep_counts() {
    for (size_t i = 0; i < 2; ++i) {
      info_.splits[splits[i]].tokens = writers_[i]->tokens();
      info_.splits[splits[i]].checksum = writers_[i]->checksum();
    }
  }

  /// Nothing waits to be encoded when this is called.
  void save(const data::TextSource& source) {
    if (std::chrono::duration<double>(Clock::now() - saved_).count() < 60 * o_.save_minutes) return;
    for (const auto& writer : writers_) writer->sync();
    keep_counts();
    data::TokenSetInfo info = info_;
    info.sources.push_back(source);
    const json state{{"command", command()},
                     {"info", json::parse(data::token_set_json(info))},
                     {"file", place_.file},
                     {"document", place_.document},
                     {"done", place_.done}};
    write_file_atomically(work_ / state_file, state.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    saved_ = Clock::now();
  }

  void encode() {
    int64_t total = 0, before = 0;
    for (size_t f = 0; f < files_.size(); ++f) {
      const auto size = static_cast<int64_t>(files_[f].second.bytes().size());
      total += size;
      if (f < place_.file) before += size;
    }
    Progress progress("encoding", total);
    progress.advance(before + static_cast<int64_t>(place_.document + place_.done));
    const auto separator = info_.separator ? std::optional(static_cast<int32_t>(*info_.separator)) : std::nullopt;
    Pieces pieces(*tokenizer_, separator, progress);
    for (; place_.file < files_.size(); place_ = {place_.file + 1, 0, 0}) encode_file(pieces);
  }

  void encode_file(Pieces& pieces) {
    const auto& [name, file] = files_[place_.file];
    data::TextSource source{.file = name, .bytes = static_cast<int64_t>(file.bytes().size())};
    std::string replaced;
    const std::string_view text = valid_text(file, o_, source, replaced);
    if (info_.sources.size() > place_.file) {  // counts of the part that an earlier run has made
      source = info_.sources.back();
      info_.sources.pop_back();
    } else if (text.starts_with("\xef\xbb\xbf")) {
      log::warning(fmt::format("{}: starts with a byte order mark, which counts as text", name));
    }
    check<DataError>(
        place_.document <= text.size(),
        [&] { return fmt::format("{}: {} bytes, {} were read before", name, text.size(), place_.document); },
        "begin anew with --restart");
    const data::DocumentKind kind = data::parse_document_kind(o_.documents);
    const std::string stem = fs::path(name).filename().string();
    while (place_.document < text.size()) {
      size_t next = place_.document;
      const std::string_view document = data::next_document(text, next, kind);
      if (data::is_blank(document)) {
        ++source.empty;
        place_.document = next;
        continue;
      }
      const int64_t number = place_.done > 0 ? source.documents - 1 : source.documents++;
      const bool held_out =
          place_.file >= o_.files.size() ||
          Rng(o_.seed, fmt::format("document:{}:{}", stem, number)).uniform() < info_.validation_fraction;
      data::TokenSplit& split = info_.splits[splits[held_out]];
      if (place_.done == 0) {
        ++split.documents;
        split.bytes += static_cast<int64_t>(document.size());
      }
      pieces.add(document, place_.done, *writers_[held_out], [&](size_t end) {
        place_ = end == document.size() ? Place{place_.file, next, 0} : Place{place_.file, place_.document, end};
        save(source);
      });
      place_ = {place_.file, next, 0};
    }
    pieces.flush();
    save(source);
    info_.sources.push_back(source);
  }

  const TextOptions& o_;
  WorkFolder work_;
  std::vector<std::pair<std::string, data::MappedFile>> files_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  data::TokenSetInfo info_;
  Place place_;
  std::unique_ptr<data::TokenWriter> writers_[2];  // of `splits`
  Clock::time_point saved_ = Clock::now();
};

}  // namespace

data::TokenSetInfo prepare_text(const TextOptions& options) {
  return Preparation(options).run();
}

}  // namespace monarch::apps
