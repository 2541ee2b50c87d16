#pragma once
// One function per reader that takes arbitrary bytes. Anything but a DataError is a defect: a crash, a hang, another
// exception, or memory far beyond the input. libFuzzer runs them (MONARCH_FUZZ), and test_fuzz a bounded loop.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace monarch::fuzz {

void xml_header(const uint8_t* bytes, size_t count);
void stream(const uint8_t* bytes, size_t count);
void cfl_header(const uint8_t* bytes, size_t count);
void npy(const uint8_t* bytes, size_t count);
void hdf5_file(const uint8_t* bytes, size_t count);
/// An HDF5 file as an SKM-TEA scan: k-space, sensitivities, targets, masks.
void skm_tea(const uint8_t* bytes, size_t count);
/// A list of scans in JSON.
void scan_list(const uint8_t* bytes, size_t count);
/// The bytes drive fields of acquisition headers, lengths and the XML of a stream that is otherwise valid.
void acquisitions(const uint8_t* bytes, size_t count);
/// A safetensors file: header, and every tensor when that passes.
void safetensors(const uint8_t* bytes, size_t count);
/// The pickle of a PyTorch checkpoint, without the archive around it.
void pickle(const uint8_t* bytes, size_t count);
/// A PyTorch checkpoint: archive, pickle and storages.
void torch_checkpoint(const uint8_t* bytes, size_t count);
/// A PyTorch checkpoint whose archive is intact and whose pickle is these bytes.
void torch_pickle(const uint8_t* bytes, size_t count);
/// A MATLAB v5 file of PDE data, with every field.
void mat5(const uint8_t* bytes, size_t count);
/// A MATLAB v5 file with an intact compressed element around these bytes.
void mat5_inner(const uint8_t* bytes, size_t count);
/// HDF5 as PDE data: MATLAB v7.3, PDEBench, The Well, others.
void hdf5_fields(const uint8_t* bytes, size_t count);
void torch_fields(const uint8_t* bytes, size_t count);
void npy_fields(const uint8_t* bytes, size_t count);
/// Bytes as text: refused or encoded by both tokenizers, and as before after decoding.
void encode_text(const uint8_t* bytes, size_t count);
/// encoder.json, a zero byte, vocab.bpe.
void bpe_vocabulary(const uint8_t* bytes, size_t count);
void wordpiece_vocabulary(const uint8_t* bytes, size_t count);
void tokenizer_json(const uint8_t* bytes, size_t count);
/// tokens.json.
void token_set(const uint8_t* bytes, size_t count);
void token_file(const uint8_t* bytes, size_t count);
/// MNIST's format, plain or packed; CIFAR's; the digits' table.
void idx(const uint8_t* bytes, size_t count);
void cifar(const uint8_t* bytes, size_t count);
void digits(const uint8_t* bytes, size_t count);
/// A JPEG or PNG file.
void picture(const uint8_t* bytes, size_t count);
/// A file of each task of GLUE.
void glue(const uint8_t* bytes, size_t count);

struct Target {
  const char* name;
  void (*run)(const uint8_t*, size_t);
  std::function<std::vector<std::string>()> seeds;  ///< valid inputs to start from
  /// Of the bounded run. libhdf5 1.10.8 itself reads out of bounds about once in 40 000
  /// mutations of a small file, so that target's run is short and always the same.
  int mutations = 20000;
};
const std::vector<Target>& targets();

}  // namespace monarch::fuzz
