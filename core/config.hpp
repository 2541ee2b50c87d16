#pragma once
// Strict configuration files: a key that nothing reads stops the run.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace monarch {

/// A TOML file whose every key must be read.
///
///   auto config = Config::load("recon.toml");
///   options.lambda = config.number("recon.lambda", options.lambda);
///   config.finish();   // "recon.toml:4: nothing reads 'recon.lamda'; did you mean 'recon.lambda'?"
///
/// Keys are dotted paths. A getter with a default returns it where the key is absent; one without throws
/// ConfigError. A value of another type throws ConfigError naming file, line, key, expected and found type.
class Config {
 public:
  static Config load(const std::filesystem::path& path);
  static Config parse(const std::string& text, const std::string& name = "config");
  ~Config();
  Config(Config&&) noexcept;
  Config& operator=(Config&&) noexcept;

  bool has(const std::string& key) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double fallback) const;
  int64_t integer(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<double> numbers(const std::string& key, const std::vector<double>& fallback) const;
  std::vector<std::string> texts(const std::string& key, const std::vector<std::string>& fallback) const;

  /// A value within bounds; throws ConfigError naming key, value and bounds.
  int64_t integer_at_least(const std::string& key, int64_t fallback, int64_t least) const;
  double number_between(const std::string& key, double fallback, double least, double most) const;
  /// What the word under `key` stands for, `choices` being words and values. Throws ConfigError naming all words and
  /// the closest one.
  template <class T>
  T choice(const std::string& key, const std::string& fallback,
           const std::vector<std::pair<std::string, T>>& choices) const {
    std::vector<std::string> words;
    for (const auto& item : choices) words.push_back(item.first);
    return choices[choice_index(key, fallback, words)].second;
  }

  /// One Config for each table of the array `[[key]]`, in order; its keys count from that table. None where absent.
  /// Reading it does not mark the keys inside as read: call finish() on each.
  std::vector<Config> tables(const std::string& key) const;
  /// What stands below a table, as a Config of its own (a copy); empty where it is absent. Marks the keys as read here.
  Config section(const std::string& table) const;
  /// The names directly below a table ("" is the root), sorted; none where it is absent.
  std::vector<std::string> names(const std::string& table) const;

  /// Sets one key: "training.epochs=20", the value in TOML syntax (a bare word counts as text). Tables on the way are
  /// made. Throws ConfigError.
  void set(const std::string& assignment);
  /// Every key of `other` replaces or joins the keys here (tables are merged, arrays replaced).
  void merge(const Config& other);
  /// Replaces every text value, in arrays and tables of tables too, by change(its key without the tables above, text).
  void rewrite_texts(const std::function<std::string(std::string_view key, const std::string& text)>& change);
  /// The whole content as TOML text, after set() and merge(): parse() of it gives the same Config.
  std::string toml() const;
  Config copy() const;
  /// The file's name, for messages.
  const std::string& name() const;

  /// Throws ConfigError when the file holds a key that no getter asked for.
  void finish() const;

  /// What was read, with the values that took effect (defaults included), as key -> JSON text.
  const std::map<std::string, std::string>& effective() const;

 private:
  size_t choice_index(const std::string& key, const std::string& fallback, const std::vector<std::string>& words) const;

  struct State;
  explicit Config(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace monarch
