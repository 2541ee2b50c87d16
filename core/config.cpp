#include "monarch/core/config.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch {

struct Config::State {
  toml::table table;
  std::string name;
  mutable std::set<std::string> asked;
  mutable std::map<std::string, std::string> effective;

  const toml::node* find(const std::string& key) const {
    asked.insert(key);
    return table.at_path(key).node();
  }

  [[noreturn]] void wrong_type(const std::string& key, const toml::node& node, const char* expected) const {
    std::ostringstream found;
    found << node.type();
    fail<ConfigError>(
        fmt::format("{}:{}: '{}' must be {}, found {}", name, node.source().begin.line, key, expected, found.str()));
  }

  [[noreturn]] void missing(const std::string& key) const {
    fail<ConfigError>(fmt::format("{}: '{}' is missing", name, key));
  }

  /// The value under `key` by `convert` (an optional-returning function of the node), else the fallback.
  template <class T, class Convert>
  T get(const std::string& key, const char* expected, const std::optional<T>& fallback, Convert convert) const {
    T result{};
    if (const toml::node* node = find(key)) {
      const std::optional<T> value = convert(*node);
      if (!value) wrong_type(key, *node, expected);
      result = *value;
    } else {
      if (!fallback) missing(key);
      result = *fallback;
    }
    effective[key] = nlohmann::json(result).dump();
    return result;
  }

  template <class T>
  static std::optional<std::vector<T>> array_of(const toml::node& node) {
    const toml::array* array = node.as_array();
    if (!array) return std::nullopt;
    std::vector<T> values;
    for (const auto& element : *array) {
      const auto value = element.value<T>();
      if (!value) return std::nullopt;
      values.push_back(*value);
    }
    return values;
  }

  using TextChange = std::function<std::string(std::string_view key, const std::string& text)>;

  static void rewrite(toml::node& node, std::string_view key, const TextChange& change) {
    if (auto* text = node.as_string()) {
      **text = change(key, **text);
    } else if (auto* array = node.as_array()) {
      for (auto& element : *array) rewrite(element, key, change);
    } else if (auto* inner = node.as_table()) {
      for (auto& [name, value] : *inner) rewrite(value, name.str(), change);
    }
  }

  static void leaves(const toml::table& table, const std::string& prefix, std::map<std::string, size_t>& found) {
    for (const auto& [key, node] : table) {
      const std::string path = prefix.empty() ? std::string(key.str()) : prefix + "." + std::string(key.str());
      if (const auto* inner = node.as_table()) {
        leaves(*inner, path, found);
      } else {
        found[path] = node.source().begin.line;
      }
    }
  }
};

namespace {
std::optional<double> as_number(const toml::node& node) {
  return node.is_number() ? node.value<double>() : std::nullopt;
}
std::optional<int64_t> as_integer(const toml::node& node) {
  return node.is_integer() ? node.value<int64_t>() : std::nullopt;
}
std::optional<std::string> as_text(const toml::node& node) {
  return node.is_string() ? node.value<std::string>() : std::nullopt;
}
}  // namespace

Config::Config(std::unique_ptr<State> state) : state_(std::move(state)) {}
Config::~Config() = default;
Config::Config(Config&&) noexcept = default;
Config& Config::operator=(Config&&) noexcept = default;

Config Config::load(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::error_code ignored;
  check<ConfigError>(file.good() && !std::filesystem::is_directory(path, ignored),
                     [&] { return fmt::format("{}: config file cannot be read", path.string()); });
  std::ostringstream text;
  text << file.rdbuf();
  return parse(text.str(), path.string());
}

Config Config::parse(const std::string& text, const std::string& name) {
  auto state = std::make_unique<State>();
  state->name = name;
  try {
    state->table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail<ConfigError>(
        fmt::format("{}:{}: not valid TOML: {}", name, error.source().begin.line, std::string(error.description())));
  }
  return Config(std::move(state));
}

bool Config::has(const std::string& key) const {
  return state_->find(key) != nullptr;
}
double Config::number(const std::string& key) const {
  return state_->get<double>(key, "a number", std::nullopt, as_number);
}
double Config::number(const std::string& key, double fallback) const {
  return state_->get<double>(key, "a number", fallback, as_number);
}
int64_t Config::integer(const std::string& key) const {
  return state_->get<int64_t>(key, "an integer", std::nullopt, as_integer);
}
int64_t Config::integer(const std::string& key, int64_t fallback) const {
  return state_->get<int64_t>(key, "an integer", fallback, as_integer);
}
bool Config::boolean(const std::string& key, bool fallback) const {
  return state_->get<bool>(key, "true or false", fallback, [](const toml::node& node) {
    return node.is_boolean() ? node.value<bool>() : std::nullopt;
  });
}
std::string Config::text(const std::string& key) const {
  return state_->get<std::string>(key, "a string", std::nullopt, as_text);
}
std::string Config::text(const std::string& key, const std::string& fallback) const {
  return state_->get<std::string>(key, "a string", fallback, as_text);
}
int64_t Config::integer_at_least(const std::string& key, int64_t fallback, int64_t least) const {
  const int64_t value = integer(key, fallback);
  check<ConfigError>(value >= least, [&] {
    return fmt::format("{}: '{}' is {}, expected {} or more", state_->name, key, value, least);
  });
  return value;
}
double Config::number_between(const std::string& key, double fallback, double least, double most) const {
  const double value = number(key, fallback);
  check<ConfigError>(value >= least && value <= most, [&] {
    return fmt::format("{}: '{}' is {}, expected {} to {}", state_->name, key, value, least, most);
  });
  return value;
}
size_t Config::choice_index(const std::string& key, const std::string& fallback,
                            const std::vector<std::string>& words) const {
  const std::string word = text(key, fallback);
  const auto found = std::find(words.begin(), words.end(), word);
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  const std::string near = closest_match(word, words);
  fail<ConfigError>(fmt::format("{}: '{}' is \"{}\", expected {}", state_->name, key, word, join_or(words)),
                    near.empty() ? "" : fmt::format("did you mean \"{}\"?", near));
}
std::vector<double> Config::numbers(const std::string& key, const std::vector<double>& fallback) const {
  return state_->get<std::vector<double>>(key, "an array of numbers", fallback, State::array_of<double>);
}
std::vector<std::string> Config::texts(const std::string& key, const std::vector<std::string>& fallback) const {
  return state_->get<std::vector<std::string>>(key, "an array of strings", fallback, State::array_of<std::string>);
}

namespace {
void merge_tables(toml::table& into, const toml::table& from) {
  for (const auto& [key, node] : from) {
    const toml::table* inner = node.as_table();
    toml::table* mine = inner ? into[key.str()].as_table() : nullptr;
    if (mine)
      merge_tables(*mine, *inner);
    else
      into.insert_or_assign(key.str(), node);
  }
}
}  // namespace

std::vector<Config> Config::tables(const std::string& key) const {
  std::vector<Config> result;
  const toml::node* node = state_->find(key);
  if (!node) return result;
  const toml::array* array = node->as_array();
  if (!array) state_->wrong_type(key, *node, "an array of tables");
  for (const auto& element : *array) {
    if (!element.is_table()) state_->wrong_type(key, element, "an array of tables");
    auto state = std::make_unique<State>();
    state->name = fmt::format("{}: [[{}]] {}", state_->name, key, result.size() + 1);
    state->table = *element.as_table();
    result.push_back(Config(std::move(state)));
  }
  return result;
}

Config Config::section(const std::string& table) const {
  auto state = std::make_unique<State>();
  state->name = state_->name + ": [" + table + "]";
  if (const toml::node* node = state_->find(table)) {
    if (!node->is_table()) state_->wrong_type(table, *node, "a table");
    state->table = *node->as_table();
    std::map<std::string, size_t> inside;
    State::leaves(state->table, table, inside);
    for (const auto& [key, line] : inside) state_->asked.insert(key);
  }
  return Config(std::move(state));
}

std::vector<std::string> Config::names(const std::string& table) const {
  std::vector<std::string> result;
  const toml::table* node = &state_->table;
  if (!table.empty()) node = state_->table.at_path(table).as_table();
  if (node)
    for (const auto& [key, value] : *node) result.emplace_back(key.str());
  return result;
}

void Config::set(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  check<ConfigError>(
      equals != std::string::npos && equals > 0, [&] { return fmt::format("'{}' is no assignment", assignment); },
      "write key=value");
  const std::string key = assignment.substr(0, equals), value = assignment.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse(key + " = " + value);
  } catch (const toml::parse_error&) {
    try {
      parsed = toml::parse(key + " = " + nlohmann::json(value).dump());
    } catch (const toml::parse_error& error) {
      fail<ConfigError>(fmt::format("'{}' is no assignment: {}", assignment, std::string(error.description())),
                        "write key=value");
    }
  }
  merge_tables(state_->table, parsed);
}

void Config::merge(const Config& other) {
  merge_tables(state_->table, other.state_->table);
}

void Config::rewrite_texts(const State::TextChange& change) {
  State::rewrite(state_->table, "", change);
}

std::string Config::toml() const {
  std::ostringstream text;
  text << state_->table << '\n';
  return text.str();
}

Config Config::copy() const {
  return Config(std::make_unique<State>(*state_));
}

const std::string& Config::name() const {
  return state_->name;
}

void Config::finish() const {
  std::map<std::string, size_t> found;
  State::leaves(state_->table, "", found);
  for (const auto& [key, line] : found) {
    if (state_->asked.contains(key)) continue;
    const std::string near = closest_match(key, {state_->asked.begin(), state_->asked.end()});
    fail<ConfigError>(fmt::format("{}:{}: nothing reads '{}'{}", state_->name, line, key,
                                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near)),
                      "remove the key or correct its name");
  }
}

const std::map<std::string, std::string>& Config::effective() const {
  return state_->effective;
}

}  // namespace monarch
