#include "monarch/data/pickle.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <unordered_map>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/pickle_calls.hpp"

namespace monarch::data::pickle {
namespace {

constexpr uint64_t largest_budget = uint64_t{2} << 30;
constexpr uint64_t memo_entry_bytes = 48;
constexpr size_t longest_global = 1000;

/// The stack machine of Python's pickletools, protocols 2 to 5.
class Machine {
 public:
  Machine(std::string_view bytes, const std::string& name)
      : bytes_(bytes), arena_(result_, name, std::min(largest_budget, (uint64_t{1} << 20) + 64 * bytes.size())) {}

  Pickle run() {
    while (step(static_cast<uint8_t>(take(1)[0]))) {
    }
    result_.root = pop();
    return std::move(result_);
  }

 private:
  // --- bytes ---
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_)
      arena_.refuse(fmt::format("the pickle ends at byte {}, where {} more are needed", bytes_.size(), count),
                    "the file is damaged or truncated");
    const auto text = bytes_.substr(at_, count);
    at_ += count;
    return text;
  }
  template <class Integer>
  Integer number() {
    static_assert(std::endian::native == std::endian::little);
    Integer value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos || end - at_ > longest_global)
      arena_.refuse(fmt::format("the name at byte {} of the pickle does not end", at_), "the file is damaged");
    const auto text = bytes_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }

  // --- stack ---
  void push(Value* value) { stack_.push_back(value); }
  Value* top() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
      arena_.refuse(fmt::format("the opcode before byte {} of the pickle finds nothing on the stack", at_),
                    "the file is damaged");
    return stack_.back();
  }
  Value* pop() {
    Value* value = top();
    stack_.pop_back();
    return value;
  }
  /// Everything above the last mark.
  std::vector<Value*> pop_mark() {
    if (marks_.empty())
      arena_.refuse(fmt::format("the opcode before byte {} of the pickle finds no mark", at_), "the file is damaged");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Value*> values(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return values;
  }
  void push_list(std::vector<Value*> items) {
    const uint64_t bytes = sizeof(List) + items.size() * sizeof(Value*);
    push(arena_.make(std::make_unique<List>(List{std::move(items)}), bytes));
  }
  void push_last(size_t count) {
    std::vector<Value*> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_list(std::move(items));
  }

  // --- memo ---
  void memoize(uint64_t index) {
    arena_.charge(memo_entry_bytes);
    memo_[index] = top();
  }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end())
      arena_.refuse(fmt::format("the pickle recalls object {}, which it never stored", index), "the file is damaged");
    push(found->second);
  }

  // --- values ---
  void push_text(std::string_view text) {
    if (is_utf8(text))
      push(arena_.make(std::make_shared<const std::string>(text), 64 + text.size()));
    else
      push_opaque("text that is not UTF-8");
  }
  void push_opaque(const std::string& what) {
    push(arena_.make(Opaque{std::make_shared<const std::string>(what)}, 64 + what.size()));
  }
  void push_global(std::string_view module, std::string_view name) {
    if (module.size() + name.size() > longest_global || !is_utf8(module) || !is_utf8(name))
      arena_.refuse("a class has an absurd name", "the file is damaged");
    std::string full = fmt::format("{}.{}", module, name);
    for (char& c : full) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';  // goes into messages
    }
    const uint64_t bytes = 64 + full.size();
    push(arena_.make(Global{std::make_shared<const std::string>(std::move(full))}, bytes));
  }
  void push_long(std::string_view bytes) {
    if (bytes.size() > 8) return push_opaque(fmt::format("an integer of {} bytes", bytes.size()));
    uint64_t value = !bytes.empty() && (bytes.back() & 0x80) ? ~uint64_t{0} : 0;  // two's complement
    std::memcpy(&value, bytes.data(), bytes.size());
    push(arena_.make(static_cast<int64_t>(value)));
  }
  void push_double() {
    const auto bits = number<uint64_t>();
    push(arena_.make(std::bit_cast<double>(__builtin_bswap64(bits))));  // the one big-endian field
  }

  void append(Value* target, const std::vector<Value*>& items) {
    if (std::holds_alternative<Opaque>(target->content)) return;
    auto* list = std::get_if<std::unique_ptr<List>>(&target->content);
    if (!list) arena_.refuse(fmt::format("appends to {}, expected a list", kind_text(*target)), "the file is damaged");
    arena_.charge(items.size() * sizeof(Value*));
    (*list)->items.insert((*list)->items.end(), items.begin(), items.end());
  }
  void set_items(Value* target, const std::vector<Value*>& items) {
    if (items.size() % 2 != 0) arena_.refuse("a dictionary has a key without a value", "the file is damaged");
    if (std::holds_alternative<Opaque>(target->content)) return;
    auto* dict = std::get_if<std::unique_ptr<Dict>>(&target->content);
    if (!dict)
      arena_.refuse(fmt::format("sets an item of {}, expected a dictionary", kind_text(*target)),
                    "the file is damaged");
    arena_.charge(items.size() * sizeof(Value*));
    for (size_t i = 0; i < items.size(); i += 2) (*dict)->entries.emplace_back(items[i], items[i + 1]);
  }
  void push_dict(const std::vector<Value*>& items) {
    push(arena_.make(std::make_unique<Dict>(), sizeof(Dict)));
    set_items(top(), items);
  }
  void build() {
    pop();  // the state is skipped: attributes such as _metadata, or the fields of an unknown object
    const Value* target = top();
    if (std::holds_alternative<Opaque>(target->content) ||
        std::holds_alternative<std::unique_ptr<Dict>>(target->content) ||
        std::holds_alternative<std::unique_ptr<StoredTensor>>(target->content))
      return;
    arena_.refuse(fmt::format("sets the state of {}", kind_text(*target)), "the file is damaged");
  }

  /// False after STOP.
  bool step(uint8_t opcode) {
    switch (opcode) {
      case 0x80: {  // PROTO
        const auto protocol = number<uint8_t>();
        if (protocol < 2 || protocol > 5)
          arena_.refuse(fmt::format("pickle protocol {}, expected 2 to 5", protocol), "save it again with torch.save");
        break;
      }
      case 0x95:
        number<uint64_t>();
        break;  // FRAME: a hint for readers of streams
      case '.':
        return false;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':
        pop();
        break;
      case '1':
        pop_mark();
        break;
      case '2':
        push(top());
        break;
      case 'N':
        push(arena_.make(None{}));
        break;
      case 0x88:
        push(arena_.make(true));
        break;
      case 0x89:
        push(arena_.make(false));
        break;
      case 'J':
        push(arena_.make(int64_t{number<int32_t>()}));
        break;
      case 'K':
        push(arena_.make(int64_t{number<uint8_t>()}));
        break;
      case 'M':
        push(arena_.make(int64_t{number<uint16_t>()}));
        break;
      case 0x8a:
        push_long(take(number<uint8_t>()));
        break;
      case 0x8b:
        push_long(take(number<uint32_t>()));
        break;
      case 'G':
        push_double();
        break;
      case 'T':
        push_text(take(number<uint32_t>()));
        break;  // BINSTRING and SHORT_BINSTRING: Python 2
      case 'U':
        push_text(take(number<uint8_t>()));
        break;
      case 'X':
        push_text(take(number<uint32_t>()));
        break;
      case 0x8c:
        push_text(take(number<uint8_t>()));
        break;
      case 0x8d:
        push_text(take(number<uint64_t>()));
        break;
      case 'B':
        push_opaque(fmt::format("{} bytes", take(number<uint32_t>()).size()));
        break;
      case 'C':
        push_opaque(fmt::format("{} bytes", take(number<uint8_t>()).size()));
        break;
      case 0x8e:
      case 0x96:
        push_opaque(fmt::format("{} bytes", take(number<uint64_t>()).size()));
        break;
      case ']':
      case ')':
        push_list({});
        break;
      case 'l':
      case 't':
        push_list(pop_mark());
        break;
      case 0x85:
        push_last(1);
        break;
      case 0x86:
        push_last(2);
        break;
      case 0x87:
        push_last(3);
        break;
      case 'a': {
        Value* item = pop();
        append(top(), {item});
        break;
      }
      case 'e': {
        const auto items = pop_mark();
        append(top(), items);
        break;
      }
      case '}':
        push_dict({});
        break;
      case 'd':
        push_dict(pop_mark());
        break;
      case 's': {
        Value* value = pop();
        Value* key = pop();
        set_items(top(), {key, value});
        break;
      }
      case 'u': {
        const auto items = pop_mark();
        set_items(top(), items);
        break;
      }
      case 0x8f:
        push_opaque("a set");
        break;
      case 0x90: {  // ADDITEMS
        const auto items = pop_mark();
        append(top(), items);
        break;
      }
      case 0x91:
        pop_mark(), push_opaque("a set");
        break;
      case 'h':
        recall(number<uint8_t>());
        break;
      case 'j':
        recall(number<uint32_t>());
        break;
      case 'q':
        memoize(number<uint8_t>());
        break;
      case 'r':
        memoize(number<uint32_t>());
        break;
      case 0x94:
        memoize(memo_.size());
        break;
      case 'c': {
        const auto module = line();
        push_global(module, line());
        break;
      }
      case 0x93: {  // STACK_GLOBAL
        const auto* name = std::get_if<Text>(&pop()->content);
        const auto* module = std::get_if<Text>(&pop()->content);
        if (!name || !module) arena_.refuse("a class is named by something else than text", "the file is damaged");
        push_global(**module, **name);
        break;
      }
      case 'R': {
        const Value* arguments = pop();
        const Value* function = pop();
        push(call(arena_, *function, *arguments));
        break;
      }
      case 0x81: {  // NEWOBJ: class, arguments
        pop();
        push(instance(arena_, *pop()));
        break;
      }
      case 0x92: {  // NEWOBJ_EX: class, arguments, keyword arguments
        pop();
        pop();
        push(instance(arena_, *pop()));
        break;
      }
      case 'b':
        build();
        break;
      case 'Q':
        push(storage(arena_, *pop()));
        break;
      default:
        arena_.refuse(fmt::format("the pickle's byte {} is opcode 0x{:02x}, which is not one of protocols 2 to 5",
                                  at_ - 1, opcode),
                      "the file is damaged, or was not written by torch.save");
    }
    return true;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  Pickle result_;
  Arena arena_;
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Value*> memo_;
};

}  // namespace

Pickle parse(std::string_view bytes, const std::string& name) {
  return Machine(bytes, name).run();
}

std::string kind_text(const Value& value) {
  struct Visitor {
    std::string operator()(const None&) const { return "None"; }
    std::string operator()(bool) const { return "a truth value"; }
    std::string operator()(int64_t) const { return "a whole number"; }
    std::string operator()(double) const { return "a number"; }
    std::string operator()(const Text&) const { return "a text"; }
    std::string operator()(const std::unique_ptr<List>&) const { return "a list"; }
    std::string operator()(const std::unique_ptr<Dict>&) const { return "a dictionary"; }
    std::string operator()(const Global& global) const { return *global.name; }
    std::string operator()(const Opaque& opaque) const { return *opaque.what; }
    std::string operator()(const std::unique_ptr<Storage>&) const { return "a storage"; }
    std::string operator()(const std::unique_ptr<StoredTensor>&) const { return "a tensor"; }
  };
  return std::visit(Visitor(), value.content);
}

}  // namespace monarch::data::pickle
