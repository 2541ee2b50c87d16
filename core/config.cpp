#include "monarch/core/config.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
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
std::vector<double> Config::numbers(const std::string& key, const std::vector<double>& fallback) const {
  return state_->get<std::vector<double>>(key, "an array of numbers", fallback, State::array_of<double>);
}
std::vector<std::string> Config::texts(const std::string& key, const std::vector<std::string>& fallback) const {
  return state_->get<std::vector<std::string>>(key, "an array of strings", fallback, State::array_of<std::string>);
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
