#pragma once
// Errors that people can act on. Every check of the program goes through `check` or `fail`.

#include <concepts>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace monarch {

/// Base of every error that Monarch raises on purpose.
///
/// what() reads "<message>\nhint: <hint>"; where() is the line of the failed check, for logs at debug level.
/// The message names the thing, what was expected and what was found; the hint says what to do about it.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, const std::string& hint, std::source_location where);
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return hint_; }
  const std::source_location& where() const noexcept { return where_; }

 private:
  std::string message_;
  std::string hint_;
  std::source_location where_;
};

/// A tensor has another rank or extent than the operation expects.
struct ShapeError final : Error {
  using Error::Error;
};
/// A tensor has another element type or lies on another device than the operation expects.
struct DtypeError final : Error {
  using Error::Error;
};
/// An option, a config file or a combination of them makes no sense.
struct ConfigError final : Error {
  using Error::Error;
};
/// A file (or a stream) does not hold what its format promises. The program exits with code 3.
struct DataError final : Error {
  using Error::Error;
};
/// A library or a device below us failed, or is not there.
struct BackendError final : Error {
  using Error::Error;
};

/// Throws E with a message, a hint (may be empty) and the caller's place.
template <std::derived_from<Error> E>
[[noreturn]] void fail(const std::string& message, const std::string& hint = {},
                       std::source_location where = std::source_location::current()) {
  throw E(message, hint, where);
}

/// Throws E unless `ok`. `message` is text, or a callable giving text that only runs when the check fails.
/// Write conditions as acceptance (`error <= tolerance`), so that NaN fails.
template <std::derived_from<Error> E, class Message>
void check(bool ok, Message&& message, const std::string& hint = {},
           std::source_location where = std::source_location::current()) {
  if (ok) [[likely]]
    return;
  if constexpr (std::invocable<Message>) {
    throw E(std::forward<Message>(message)(), hint, where);
  } else {
    throw E(std::string(std::forward<Message>(message)), hint, where);
  }
}

}  // namespace monarch
