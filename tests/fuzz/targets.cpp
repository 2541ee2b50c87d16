#include "fuzz/targets.hpp"

#include <ATen/ATen.h>

#include <cstring>
#include <fstream>
#include <span>
#include <sstream>

#include "fuzz/checkpoint_seeds.hpp"
#include "fuzz/field_seeds.hpp"
#include "fuzz/image_seeds.hpp"
#include "fuzz/text_seeds.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/cfl.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/ismrmrd_header.hpp"
#include "monarch/data/ismrmrd_stream.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/scan_list.hpp"
#include "monarch/data/scan_writer.hpp"
#include "support/ismrmrd_writer.hpp"
#include "support/support.hpp"

namespace monarch::fuzz {

namespace {

std::string_view view(const uint8_t* bytes, size_t count) {
  return {reinterpret_cast<const char*>(bytes), count};
}

/// Everything a scan offers must work, or say why it does not.
void use(const data::ScanSource& scan) {
  for (size_t i = 0; i < std::min<size_t>(scan.images().size(), 3); ++i) {
    try {
      const auto image = scan.read(i);
      const bool placed = image.trajectory.defined() ? image.trajectory.dim() == 3 : image.mask.dim() == 3;
      if (image.samples.dim() != 4 || !placed) __builtin_trap();
      if (!at::isfinite(at::view_as_real(image.samples)).all().item<bool>()) __builtin_trap();
      for (const auto& extra : {scan.sensitivities(i), scan.target(i)})
        if (extra && !at::isfinite(at::view_as_real(*extra)).all().item<bool>()) __builtin_trap();
    } catch (const DataError&) {
    }
  }
  for (const auto& name : scan.mask_names()) {
    try {
      if (scan.mask(name).dim() != 2) __builtin_trap();
    } catch (const DataError&) {
    }
  }
  try {
    scan.noise();
    scan.reference();
    scan.summarise();
  } catch (const DataError&) {
  }
}

std::string scan_stream(const test::TestScan& scan) {
  std::ostringstream out;
  data::StreamWriter writer(out);
  if (scan.xml) writer.header(*scan.xml);
  for (const auto& readout : scan.readouts) writer.acquisition(readout.header, readout.data, readout.trajectory);
  writer.close();
  return out.str();
}

test::TestScan small_scan() {
  auto scan = test::test_scan(test::random_kspace(2, 1, 6, 8));
  auto noise = scan.readouts[0];
  test::set_flag(noise, data::ismrmrd::noise_measurement);
  scan.readouts.push_back(noise);
  test::set_flag(scan.readouts[2], data::ismrmrd::parallel_calibration);
  test::set_flag(scan.readouts[3], data::ismrmrd::reverse_readout);
  scan.readouts[4].header.idx.slice = 1;
  return scan;
}

test::TestScan placed_scan() {
  auto scan = test::test_scan(test::random_kspace(2, 1, 6, 8));
  auto xml = test::test_xml(test::random_kspace(1, 1, 8, 8));
  xml.trajectory = "spiral";
  scan.xml = xml.text();
  for (auto& readout : scan.readouts) {
    readout.header.trajectory_dimensions = 2;
    for (int i = 0; i < 16; ++i) readout.trajectory.push_back(static_cast<float>(i) / 2 - 4);
  }
  return scan;
}

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

std::vector<std::string> hdf5_seeds() {
  const test::TemporaryFolder folder;
  test::write_ismrmrd(folder / "a.h5", small_scan());
  test::write_ismrmrd(folder / "d.h5", placed_scan());
  auto fast = data::hdf5::File::create(folder / "b.h5");
  fast.write("kspace", test::random_kspace(2, 2, 6, 8));
  fast.write("reconstruction_rss", at::ones({2, 6, 8}));
  fast.write("mask", at::ones({8}, at::kBool));
  fast.write_text("ismrmrd_header", test::test_xml(test::random_kspace(1, 1, 8, 6)).text());
  fast.write_attribute("", "acceleration", 4.0);
  fast = data::hdf5::File::create(folder / "c.h5");
  return {file_bytes(folder / "a.h5"), file_bytes(folder / "b.h5"), file_bytes(folder / "d.h5")};
}

std::vector<std::string> skm_tea_seeds() {
  const test::TemporaryFolder folder;
  data::ScanLayout layout;
  layout.scan_id = "a";
  layout.slices = layout.echoes = layout.coils = 2;
  layout.matrix = {6, 4};
  layout.masks["poisson_4.0x"] = at::ones({4, 4}, at::kBool);
  data::ScanWriter writer(folder / "a.h5", data::ScanFormat::skm_tea, layout);
  for (int64_t slice = 0; slice < 2; ++slice) {
    writer.add({test::random_kspace(2, 2, 6, 4), test::random_kspace(1, 2, 6, 4), test::random_kspace(2, 1, 6, 4)});
  }
  writer.commit();
  return {file_bytes(folder / "a.h5")};
}

std::vector<std::string> npy_seeds() {
  const test::TemporaryFolder folder;
  data::save_npy(folder / "a.npy", test::random_kspace(1, 2, 3, 4));
  data::save_npy(folder / "b.npy", at::ones({3}, at::kBool));
  return {file_bytes(folder / "a.npy"), file_bytes(folder / "b.npy")};
}

}  // namespace

void xml_header(const uint8_t* bytes, size_t count) {
  try {
    data::parse_ismrmrd_header(std::string(view(bytes, count)), "fuzz", count % 2 == 0);
  } catch (const DataError&) {
  }
}

void stream(const uint8_t* bytes, size_t count) {
  const std::string text(view(bytes, count));
  for (const bool images : {false, true}) {
    std::istringstream in(text);
    try {
      if (images)
        data::read_image_stream(in);
      else
        use(*data::open_scan_stream(in));
    } catch (const DataError&) {
    }
  }
}

void cfl_header(const uint8_t* bytes, size_t count) {
  try {
    const auto dims = data::parse_cfl_header(view(bytes, count), "fuzz");
    if (dims.empty() || dims.size() > 16) __builtin_trap();
  } catch (const DataError&) {
  }
}

void npy(const uint8_t* bytes, size_t count) {
  try {
    data::parse_npy(view(bytes, count), "fuzz");
  } catch (const DataError&) {
  }
}

void hdf5_file(const uint8_t* bytes, size_t count) {
  try {
    use(*data::open_hdf5_scan(data::hdf5::File::from_memory(std::as_bytes(std::span(bytes, count)), "fuzz.h5")));
  } catch (const DataError&) {
  }
}

void skm_tea(const uint8_t* bytes, size_t count) {
  try {
    use(*data::open_skm_tea(data::hdf5::File::from_memory(std::as_bytes(std::span(bytes, count)), "fuzz.h5")));
  } catch (const DataError&) {
  }
}

void scan_list(const uint8_t* bytes, size_t count) {
  try {
    for (const auto& scan : data::parse_scan_list(view(bytes, count), "fuzz"))
      if (scan.file_name.empty()) __builtin_trap();
  } catch (const DataError&) {
  }
}

void acquisitions(const uint8_t* bytes, size_t count) {
  auto scan = small_scan();
  // Six bytes an edit: readout, field offset (two), size selector, value (two).
  for (; count >= 6; bytes += 6, count -= 6) {
    auto& readout = scan.readouts[bytes[0] % scan.readouts.size()];
    uint16_t value;
    std::memcpy(&value, bytes + 4, 2);
    const size_t offset = (bytes[1] | bytes[2] << 8) % (sizeof(readout.header) - 1);
    std::memcpy(reinterpret_cast<char*>(&readout.header) + offset, &value, bytes[3] % 2 ? 2 : 1);
  }
  for (auto& readout : scan.readouts) {
    // Lengths must stay those of a stream; the HDF5 target covers lists of other lengths.
    const size_t samples = size_t{readout.header.number_of_samples} * readout.header.active_channels;
    const size_t points = size_t{readout.header.number_of_samples} * readout.header.trajectory_dimensions;
    if (samples > 100000 || points > 100000) return;
    readout.data.resize(samples);
    readout.trajectory.resize(points);
  }
  const std::string text = scan_stream(scan);
  stream(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {
      {"xml_header", xml_header, [] { return std::vector<std::string>{*small_scan().xml}; }},
      {"stream", stream,
       [] {
         return std::vector<std::string>{scan_stream(small_scan()), scan_stream(placed_scan())};
       }},
      {"cfl_header", cfl_header,
       [] { return std::vector<std::string>{"# Dimensions\n8 6 1 2 1 1 1 1 1 1 1 1 1 1 1 1\n# Creator\nBART\n"}; }},
      {"npy", npy, npy_seeds},
      {"hdf5_file", hdf5_file, hdf5_seeds, 1500},
      {"skm_tea", skm_tea, skm_tea_seeds, 1500},
      {"scan_list", scan_list,
       [] {
         return std::vector<std::string>{
             R"({"images": [{"id": 1, "file_name": "a.h5", "scan_id": "a", "voxel_spacing": [0.3, 0.3, 0.8], )"
             R"("matrix_shape": [512, 512, 160], "orientation": ["SI", "AP", "LR"]}]})"};
       }},
      {"mat5", mat5, mat5_seeds},
      {"mat5_inner", mat5_inner, mat5_inner_seeds},
      {"hdf5_fields", hdf5_fields, hdf5_fields_seeds, 6000},
      {"torch_fields", torch_fields, torch_seeds},
      {"npy_fields", npy_fields, npy_seeds},
      {"encode_text", encode_text, text_seeds},
      {"bpe_vocabulary", bpe_vocabulary, bpe_vocabulary_seeds},
      {"wordpiece_vocabulary", wordpiece_vocabulary, wordpiece_vocabulary_seeds},
      {"tokenizer_json", tokenizer_json, tokenizer_json_seeds},
      {"token_set", token_set, token_set_seeds},
      {"token_file", token_file, token_file_seeds},
      {"idx", idx, idx_seeds},
      {"cifar", cifar, cifar_seeds, 3000},
      {"digits", digits, digits_seeds},
      {"picture", picture, picture_seeds},
      {"glue", glue, glue_seeds},
      {"safetensors", safetensors, safetensors_seeds},
      {"pickle", pickle, pickle_seeds},
      {"torch_checkpoint", torch_checkpoint, torch_seeds},
      {"torch_pickle", torch_pickle, pickle_seeds},
      {"acquisitions", acquisitions,
       [] { return std::vector<std::string>{std::string("\x01\x22\x00\x01\x09\x00\x02\xf2\x00\x01\x03\x00", 12)}; }},
  };
  return all;
}

}  // namespace monarch::fuzz
