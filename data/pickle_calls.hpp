#pragma once
// What the unpickler makes of calls, instances and persistent ids: the allow-list.

#include <string>
#include <utility>

#include "monarch/data/pickle.hpp"

namespace monarch::data::pickle {

/// Makes values and keeps account of the memory that they take.
class Arena {
 public:
  Arena(Pickle& pickle, std::string name, uint64_t budget)
      : pickle_(pickle), name_(std::move(name)), budget_(budget), left_(budget) {}
  /// A new value; `more`: bytes that it holds beside itself.
  template <class Content>
  Value* make(Content content, uint64_t more = 0) {
    charge(sizeof(Value) + more);
    return &pickle_.values.emplace_back(Value{std::move(content)});
  }
  /// Throws DataError when the budget is spent.
  void charge(uint64_t bytes);
  /// Throws DataError "<file>: <what>".
  [[noreturn]] void refuse(const std::string& what, const std::string& hint = {}) const;

 private:
  Pickle& pickle_;
  std::string name_;
  uint64_t budget_, left_;
};

/// The value of function(*arguments). Throws DataError for functions outside the list and for arguments that are not
/// theirs.
Value* call(Arena& arena, const Value& function, const Value& arguments);

/// A new instance of a class: a dictionary for OrderedDict and defaultdict, else Opaque.
Value* instance(Arena& arena, const Value& type);

/// The storage of a persistent id ('storage', class, key, place, numel).
Value* storage(Arena& arena, const Value& id);

}  // namespace monarch::data::pickle
