#pragma once
// An unpickler that builds plain values and descriptions of tensors, and runs nothing.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace monarch::data::pickle {

struct Value;
using Text = std::shared_ptr<const std::string>;  ///< shared, so that a small pickle cannot repeat a large text

struct None {};
/// A tuple or a list.
struct List {
  std::vector<Value*> items;
};
struct Dict {
  std::vector<std::pair<Value*, Value*>> entries;  ///< in order of the file
};
/// A class or function that the pickle names, such as "collections.OrderedDict". Nothing is imported.
struct Global {
  Text name;
};
/// Anything that is not read: an object of an unknown class ("argparse.Namespace"), bytes, a set, a huge integer.
struct Opaque {
  Text what;
};
/// A storage that lies beside the pickle.
struct Storage {
  std::string key;  ///< "3" for the archive's entry data/3
  at::ScalarType type = at::kByte;
  bool untyped = false;  ///< counted in bytes; its tensors bring their type
  int64_t numel = 0;     ///< >= 0
};
/// A tensor: a strided view of a storage. Extents, strides and offset are >= 0, there are as many strides as extents
/// and at most 64; whether the view lies within the storage is checked where the file is opened.
struct StoredTensor {
  Storage storage;
  at::ScalarType type = at::kFloat;
  int64_t offset = 0;  ///< in elements
  std::vector<int64_t> shape, strides;
  bool conjugate = false, negative = false;  ///< lazy flags of the view
};

struct Value {
  std::variant<None, bool, int64_t, double, Text, std::unique_ptr<List>, std::unique_ptr<Dict>, Global, Opaque,
               std::unique_ptr<Storage>, std::unique_ptr<StoredTensor>>
      content;
};

/// The value of a pickle. Values may be shared and may form cycles, so all are owned here.
struct Pickle {
  std::deque<Value> values;
  const Value* root = nullptr;
};

/// Reads a pickle of protocol 2 to 5. `name` appears in messages.
///
///  - Calls (REDUCE) are taken of the functions that rebuild tensors (torch._utils._rebuild_tensor_v2, …) and of
///    containers (collections.OrderedDict, torch.Size, …); those of a short list of harmless constructors (paths,
///    dates, NumPy scalars) give an Opaque. Any other, os.system say, is refused by name. None is ever executed.
///  - Instances of a class (NEWOBJ) become Opaque and their state (BUILD) is skipped, as is that of OrderedDict.
///  - Persistent ids are PyTorch's storages.
///
/// Throws DataError for anything else: opcodes of other protocols, a stack that runs empty, arguments that are not
/// PyTorch's, values that would take more memory than 64 times the pickle.
Pickle parse(std::string_view bytes, const std::string& name);

/// For messages: "a text", "a tensor", "an object of argparse.Namespace".
std::string kind_text(const Value& value);

}  // namespace monarch::data::pickle
