#include "support/ismrmrd_writer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <stdexcept>

#include "monarch/core/rng.hpp"

namespace monarch::test {

using data::ismrmrd::AcquisitionHeader;
using data::ismrmrd::EncodingCounters;

namespace {

/// Layout in memory while writing: the packed header, then two lists.
struct Element {
  AcquisitionHeader head;
  hvl_t trajectory;
  hvl_t data;
};

struct Field {
  const char* name;
  size_t offset;
  hid_t type;
  hsize_t count;
};

hid_t make_compound(size_t bytes, const std::vector<Field>& fields) {
  const hid_t type = H5Tcreate(H5T_COMPOUND, bytes);
  for (const Field& field : fields) {
    if (field.count == 1) {
      H5Tinsert(type, field.name, field.offset, field.type);
    } else {
      const hid_t array = H5Tarray_create2(field.type, 1, &field.count);
      H5Tinsert(type, field.name, field.offset, array);
      H5Tclose(array);
    }
  }
  return type;
}

hid_t element_type() {
  const hid_t u16 = H5T_NATIVE_UINT16, u32 = H5T_NATIVE_UINT32, u64 = H5T_NATIVE_UINT64, f32 = H5T_NATIVE_FLOAT,
              i32 = H5T_NATIVE_INT32;
  const hid_t counters = make_compound(sizeof(EncodingCounters), {{"kspace_encode_step_1", 0, u16, 1},
                                                                  {"kspace_encode_step_2", 2, u16, 1},
                                                                  {"average", 4, u16, 1},
                                                                  {"slice", 6, u16, 1},
                                                                  {"contrast", 8, u16, 1},
                                                                  {"phase", 10, u16, 1},
                                                                  {"repetition", 12, u16, 1},
                                                                  {"set", 14, u16, 1},
                                                                  {"segment", 16, u16, 1},
                                                                  {"user", 18, u16, 8}});
  const hid_t head = make_compound(sizeof(AcquisitionHeader), {{"version", 0, u16, 1},
                                                               {"flags", 2, u64, 1},
                                                               {"measurement_uid", 10, u32, 1},
                                                               {"scan_counter", 14, u32, 1},
                                                               {"acquisition_time_stamp", 18, u32, 1},
                                                               {"physiology_time_stamp", 22, u32, 3},
                                                               {"number_of_samples", 34, u16, 1},
                                                               {"available_channels", 36, u16, 1},
                                                               {"active_channels", 38, u16, 1},
                                                               {"channel_mask", 40, u64, 16},
                                                               {"discard_pre", 168, u16, 1},
                                                               {"discard_post", 170, u16, 1},
                                                               {"center_sample", 172, u16, 1},
                                                               {"encoding_space_ref", 174, u16, 1},
                                                               {"trajectory_dimensions", 176, u16, 1},
                                                               {"sample_time_us", 178, f32, 1},
                                                               {"position", 182, f32, 3},
                                                               {"read_dir", 194, f32, 3},
                                                               {"phase_dir", 206, f32, 3},
                                                               {"slice_dir", 218, f32, 3},
                                                               {"patient_table_position", 230, f32, 3},
                                                               {"idx", 242, counters, 1},
                                                               {"user_int", 276, i32, 8},
                                                               {"user_float", 308, f32, 8}});
  const hid_t floats = H5Tvlen_create(f32);
  const hid_t type = make_compound(sizeof(Element), {{"head", offsetof(Element, head), head, 1},
                                                     {"traj", offsetof(Element, trajectory), floats, 1},
                                                     {"data", offsetof(Element, data), floats, 1}});
  for (const hid_t id : {counters, head, floats}) H5Tclose(id);
  return type;
}

void write_readouts(data::hdf5::File& file, const std::string& path, std::vector<TestReadout> readouts) {
  std::vector<Element> elements;
  for (auto& readout : readouts) {
    elements.push_back({readout.header,
                        {readout.trajectory.size(), readout.trajectory.data()},
                        {2 * readout.data.size(), readout.data.data()}});
  }
  const hsize_t count = elements.size(), unlimited = H5S_UNLIMITED, chunk = 1;
  const hid_t type = element_type();
  const hid_t space = H5Screate_simple(1, &count, &unlimited);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 1, &chunk);
  const hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  const hid_t dataset = H5Dcreate2(file.id(), path.c_str(), type, space, links, creation, H5P_DEFAULT);
  const bool ok = dataset >= 0 &&
                  (elements.empty() || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, elements.data()) >= 0);
  H5Dclose(dataset);
  H5Pclose(links);
  H5Pclose(creation);
  H5Sclose(space);
  H5Tclose(type);
  if (!ok) throw std::runtime_error("test file cannot be written: " + path);
}

std::string space_xml(const char* name, const data::Extent3& n, const data::Vector3& fov) {
  return fmt::format(
      "<{0}><matrixSize><x>{1}</x><y>{2}</y><z>{3}</z></matrixSize><fieldOfView_mm><x>{4}</x><y>{5}</y><z>{6}</z>"
      "</fieldOfView_mm></{0}>",
      name, n[0], n[1], n[2], fov[0], fov[1], fov[2]);
}

std::string limit_xml(const char* name, const std::optional<data::EncodingLimit>& limit) {
  if (!limit) return {};
  return fmt::format("<{0}><minimum>{1}</minimum><maximum>{2}</maximum><center>{3}</center></{0}>", name,
                     limit->minimum, limit->maximum, limit->centre);
}

}  // namespace

std::string TestXml::text() const {
  std::string parallel;
  if (acceleration != 1 || !calibration_mode.empty()) {
    parallel = fmt::format(
        "<parallelImaging><accelerationFactor><kspace_encoding_step_1>{}</kspace_encoding_step_1>"
        "<kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor>{}</parallelImaging>",
        acceleration, calibration_mode.empty() ? "" : "<calibrationMode>" + calibration_mode + "</calibrationMode>");
  }
  return "<?xml version=\"1.0\"?><ismrmrdHeader xmlns=\"http://www.ismrm.org/ISMRMRD\">" +
         (vendor.empty() ? ""
                         : "<acquisitionSystemInformation><systemVendor>" + vendor +
                               "</systemVendor></acquisitionSystemInformation>") +
         "<experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></"
         "experimentalConditions><encoding>" +
         space_xml("encodedSpace", encoded, encoded_fov_mm) +
         (with_recon ? space_xml("reconSpace", recon, recon_fov_mm) : "") +
         (with_limits ? "<encodingLimits>" + limit_xml("kspace_encoding_step_1", limit_y) +
                            limit_xml("kspace_encoding_step_2", limit_z) + "</encodingLimits>"
                      : "") +
         "<trajectory>" + trajectory + "</trajectory>" + parallel + "</encoding></ismrmrdHeader>";
}

at::Tensor random_kspace(int64_t coils, int64_t nz, int64_t ny, int64_t nx, uint64_t seed) {
  return Rng(seed, "test k-space").normal({coils, nz, ny, nx}, at::kComplexFloat);
}

TestReadout test_readout(const at::Tensor& kspace, int64_t y, int64_t z) {
  TestReadout readout;
  auto& head = readout.header;
  const int64_t coils = kspace.size(0), nx = kspace.size(3);
  head.version = 1;
  head.number_of_samples = static_cast<uint16_t>(nx);
  head.active_channels = head.available_channels = static_cast<uint16_t>(coils);
  head.center_sample = static_cast<uint16_t>(nx / 2);
  head.sample_time_us = 5;
  head.read_dir[0] = head.phase_dir[1] = head.slice_dir[2] = 1;
  head.idx.kspace_encode_step_1 = static_cast<uint16_t>(y);
  head.idx.kspace_encode_step_2 = static_cast<uint16_t>(z);
  const at::Tensor line = kspace.select(1, z).select(1, y).contiguous();
  const auto* values = reinterpret_cast<const std::complex<float>*>(line.data_ptr());
  readout.data.assign(values, values + line.numel());
  return readout;
}

TestXml test_xml(const at::Tensor& kspace) {
  TestXml xml;
  const int64_t nz = kspace.size(1), ny = kspace.size(2), nx = kspace.size(3);
  xml.encoded = xml.recon = {nx, ny, nz};
  xml.limit_y = data::EncodingLimit{0, ny - 1, ny / 2};
  if (nz > 1) xml.limit_z = data::EncodingLimit{0, nz - 1, nz / 2};
  return xml;
}

TestScan test_scan(const at::Tensor& kspace) {
  TestScan scan;
  scan.xml = test_xml(kspace).text();
  for (int64_t z = 0; z < kspace.size(1); ++z) {
    for (int64_t y = 0; y < kspace.size(2); ++y) scan.readouts.push_back(test_readout(kspace, y, z));
  }
  return scan;
}

void write_ismrmrd(const std::filesystem::path& path, const std::vector<TestScan>& scans) {
  auto file = data::hdf5::File::create(path);
  for (const TestScan& scan : scans) {
    const std::string prefix = scan.group.empty() ? "" : scan.group + "/";
    if (scan.xml) file.write_text(prefix + "xml", *scan.xml, scan.xml_kind);
    if (scan.with_data) write_readouts(file, prefix + "data", scan.readouts);
  }
}

}  // namespace monarch::test
