#include "monarch/data/pickle_calls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/element_type.hpp"

namespace monarch::data::pickle {
namespace {

constexpr size_t largest_rank = 64;

/// Constructors whose results nobody needs and whose names are too common in checkpoints to refuse the file.
constexpr std::array harmless = std::to_array<std::string_view>(
    {"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.frozenset", "builtins.range", "builtins.set",
     "builtins.slice", "__builtin__.bytearray", "__builtin__.complex", "__builtin__.frozenset", "__builtin__.set",
     "__builtin__.slice", "collections.deque", "copyreg._reconstructor", "copy_reg._reconstructor", "datetime.date",
     "datetime.datetime", "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction",
     "numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
     "numpy.core.multiarray.scalar", "numpy.dtype", "numpy.ndarray", "numpy.random._pickle.__randomstate_ctor",
     "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib.WindowsPath",
     "pathlib._local.PosixPath", "pathlib._local.PurePosixPath", "pathlib._local.WindowsPath", "torch.device",
     "uuid.UUID",
     // Tensors of kinds that have no plain storage.
     "torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_nested_tensor",
     "torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_csr_tensor", "torch._utils._rebuild_sparse_tensor",
     "torch._utils._rebuild_wrapper_subclass"});

/// Functions that return their first argument.
constexpr std::array identities = std::to_array<std::string_view>(
    {"torch.Size", "collections.Counter", "torch.jit._pickle.build_boollist", "torch.jit._pickle.build_doublelist",
     "torch.jit._pickle.build_intlist", "torch.jit._pickle.build_tensorlist", "torch.jit._pickle.restore_type_tag",
     "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"});

/// The arguments of one call, with messages for what is not as PyTorch writes it.
class Arguments {
 public:
  Arguments(const Arena& arena, const std::string& function, const Value& value) : arena_(arena), function_(function) {
    const auto* list = std::get_if<std::unique_ptr<List>>(&value.content);
    if (!list) wrong("a tuple of arguments", value);
    items_ = &(*list)->items;
  }
  size_t size() const { return items_->size(); }
  const Value& at(size_t i) const {
    if (i >= items_->size())
      arena_.refuse(
          fmt::format("a call of {} has {} arguments, expected at least {}", function_, items_->size(), i + 1),
          damaged);
    return *(*items_)[i];
  }
  int64_t integer(size_t i) const {
    const auto* number = std::get_if<int64_t>(&at(i).content);
    if (!number) wrong("a whole number", at(i));
    if (*number < 0)
      arena_.refuse(fmt::format("a call of {} has the negative number {}, expected none below 0", function_, *number),
                    damaged);
    return *number;
  }
  std::vector<int64_t> integers(size_t i) const {
    const auto* list = std::get_if<std::unique_ptr<List>>(&at(i).content);
    if (!list) wrong("a tuple of whole numbers", at(i));
    const auto& items = (*list)->items;
    if (items.size() > largest_rank)
      arena_.refuse(fmt::format("a tensor has {} axes, expected at most {}", items.size(), largest_rank), damaged);
    std::vector<int64_t> numbers;
    for (const Value* item : items) {
      const auto* number = std::get_if<int64_t>(&item->content);
      if (!number) wrong("a tuple of whole numbers", *item);
      if (*number < 0) arena_.refuse(fmt::format("a tensor has a negative extent or stride, {}", *number), damaged);
      numbers.push_back(*number);
    }
    return numbers;
  }
  const Storage& storage(size_t i) const {
    const auto* storage = std::get_if<std::unique_ptr<Storage>>(&at(i).content);
    if (!storage) wrong("a storage", at(i));
    return **storage;
  }
  const std::string& global(size_t i) const {
    const auto* global = std::get_if<Global>(&at(i).content);
    if (!global) wrong("a class or function", at(i));
    return *global->name;
  }
  /// A flag in a dictionary such as {'conj': True}; false where there is neither.
  bool flag(size_t i, std::string_view key) const {
    if (i >= size()) return false;
    const auto* dict = std::get_if<std::unique_ptr<Dict>>(&at(i).content);
    if (!dict) return false;
    bool set = false;
    for (const auto& [k, v] : (*dict)->entries) {
      const auto* text = std::get_if<Text>(&k->content);
      const auto* value = std::get_if<bool>(&v->content);
      if (text && value && **text == key) set = *value;
    }
    return set;
  }

 private:
  static constexpr const char* damaged = "the file is damaged, or no PyTorch checkpoint";
  [[noreturn]] void wrong(const std::string& expected, const Value& found) const {
    arena_.refuse(fmt::format("a call of {} has {}, expected {}", function_, kind_text(found), expected), damaged);
  }

  const Arena& arena_;
  const std::string& function_;
  const std::vector<Value*>* items_ = nullptr;
};

/// _rebuild_tensor(storage, offset, size, stride), _v2(…, requires_grad, hooks[, metadata]),
/// _v3(…, requires_grad, hooks, dtype[, metadata]).
Value* rebuilt_tensor(Arena& arena, const Arguments& arguments, bool typed) {
  auto tensor = std::make_unique<StoredTensor>();
  tensor->storage = arguments.storage(0);
  tensor->offset = arguments.integer(1);
  tensor->shape = arguments.integers(2);
  tensor->strides = arguments.integers(3);
  tensor->type = tensor->storage.type;
  if (tensor->shape.size() != tensor->strides.size())
    arena.refuse(
        fmt::format("a tensor has shape {} and strides {}", shape_text(tensor->shape), shape_text(tensor->strides)),
        "the file is damaged");
  if (typed) {
    const std::string& type = arguments.global(6);
    const ElementType* known = type.starts_with("torch.") ? element_type_by_name(type.substr(6)) : nullptr;
    if (!known) return arena.make(Opaque{std::get<Global>(arguments.at(6).content).name});
    tensor->type = known->type;
  }
  const size_t metadata = typed ? 7 : 6;
  tensor->conjugate = arguments.flag(metadata, "conj");
  tensor->negative = arguments.flag(metadata, "neg");
  const uint64_t bytes = sizeof(StoredTensor) + 16 * tensor->shape.size();
  return arena.make(std::move(tensor), bytes);
}

/// OrderedDict([(key, value), …]), as Python 2 wrote it.
Value* ordered_dict(Arena& arena, const Arguments& arguments) {
  auto dict = std::make_unique<Dict>();
  if (arguments.size() > 0) {
    const auto* pairs = std::get_if<std::unique_ptr<List>>(&arguments.at(0).content);
    if (!pairs) arena.refuse(fmt::format("OrderedDict of {}, expected a list of pairs", kind_text(arguments.at(0))));
    arena.charge((*pairs)->items.size() * sizeof(dict->entries[0]));
    for (const Value* item : (*pairs)->items) {
      const auto* pair = std::get_if<std::unique_ptr<List>>(&item->content);
      if (!pair || (*pair)->items.size() != 2)
        arena.refuse(fmt::format("OrderedDict of a list with {}, expected pairs", kind_text(*item)));
      dict->entries.emplace_back((*pair)->items[0], (*pair)->items[1]);
    }
  }
  return arena.make(std::move(dict), sizeof(Dict));
}

template <class Names>
bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

void Arena::charge(uint64_t bytes) {
  if (bytes > left_)
    refuse(fmt::format("its objects need more than {}", bytes_text(static_cast<double>(budget_))),
           "the file is damaged or hostile");
  left_ -= bytes;
}

void Arena::refuse(const std::string& what, const std::string& hint) const {
  fail<DataError>(fmt::format("{}: {}", name_, what), hint);
}

Value* call(Arena& arena, const Value& function, const Value& arguments) {
  const auto* global = std::get_if<Global>(&function.content);
  if (!global) arena.refuse(fmt::format("calls {}, expected a function", kind_text(function)), "the file is damaged");
  const std::string& name = *global->name;
  const Arguments given(arena, name, arguments);
  if (name == "torch._utils._rebuild_tensor" || name == "torch._utils._rebuild_tensor_v2")
    return rebuilt_tensor(arena, given, false);
  if (name == "torch._utils._rebuild_tensor_v3") return rebuilt_tensor(arena, given, true);
  if (name == "torch._tensor._rebuild_from_type_v2" && given.global(0) != name)  // a tensor with attributes
    return call(arena, given.at(0), given.at(2));
  if (name == "collections.OrderedDict") return ordered_dict(arena, given);
  if (name == "collections.defaultdict") return arena.make(std::make_unique<Dict>(), sizeof(Dict));
  if (contains(identities, name)) {
    if (given.size() == 0) return arena.make(std::make_unique<List>(), sizeof(List));
    return const_cast<Value*>(&given.at(0));
  }
  if (contains(harmless, name)) return arena.make(Opaque{global->name});
  arena.refuse(fmt::format("calls {}: refused", name),
               "a checkpoint needs no such call, and Monarch runs no code of a file. If you trust it, save its tensors "
               "alone in Python: torch.save(model.state_dict(), path)");
}

Value* instance(Arena& arena, const Value& type) {
  const auto* global = std::get_if<Global>(&type.content);
  if (!global)
    arena.refuse(fmt::format("makes an instance of {}, expected a class", kind_text(type)), "the file is damaged");
  if (*global->name == "collections.OrderedDict" || *global->name == "collections.defaultdict")
    return arena.make(std::make_unique<Dict>(), sizeof(Dict));
  return arena.make(Opaque{global->name});
}

Value* storage(Arena& arena, const Value& id) {
  static const std::string function = "the persistent id";
  const Arguments given(arena, function, id);
  const auto* kind = std::get_if<Text>(&given.at(0).content);
  if (kind && **kind == "module")
    return const_cast<Value*>(&given.at(1));  // a class with its source, which stays unread
  if (!kind || **kind != "storage")
    arena.refuse(fmt::format("a persistent id starts with {}, expected 'storage'", kind_text(given.at(0))),
                 "the file is no PyTorch checkpoint");
  auto result = std::make_unique<Storage>();
  const std::string& type = given.global(1);
  const size_t dot = type.rfind('.');
  const std::string last = dot == std::string::npos ? type : type.substr(dot + 1);
  if (last == "UntypedStorage") {
    result->untyped = true;
  } else {
    const ElementType* known = type.starts_with("torch.") ? element_type_by_storage(last) : nullptr;
    if (!known) return arena.make(Opaque{std::get<Global>(given.at(1).content).name});  // quantised
    result->type = known->type;
  }
  const auto* key = std::get_if<Text>(&given.at(2).content);
  if (!key || (*key)->empty() || (*key)->size() > 64)
    arena.refuse(fmt::format("a storage is named by {}, expected a short text", kind_text(given.at(2))),
                 "the file is damaged");
  result->key = **key;
  result->numel = given.integer(4);
  return arena.make(std::move(result), sizeof(Storage) + 64);
}

}  // namespace monarch::data::pickle
