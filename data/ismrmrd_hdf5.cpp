// ISMRMRD raw data in HDF5 files.

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/hdf5_heap.hpp"
#include "monarch/data/hdf5_types.hpp"
#include "monarch/data/ismrmrd_scan.hpp"

namespace monarch::data {

using ismrmrd::AcquisitionHeader;
using ismrmrd::EncodingCounters;

namespace {

using hdf5::Handle;

/// Most readouts that one read takes at once, by the size that their headers claim.
constexpr uint64_t block_bytes = uint64_t{64} << 20;
constexpr hsize_t header_block = 4096;

Handle compound(size_t bytes) {
  return Handle(H5Tcreate(H5T_COMPOUND, bytes), hdf5::close::type);
}

void insert_array(const Handle& type, const char* name, size_t offset, hid_t element, hsize_t count) {
  const Handle array(H5Tarray_create2(element, 1, &count), hdf5::close::type);
  H5Tinsert(type.get(), name, offset, array.get());
}

Handle counters_type() {
  Handle type = compound(sizeof(EncodingCounters));
  const std::pair<const char*, size_t> fields[] = {
      {"kspace_encode_step_1", offsetof(EncodingCounters, kspace_encode_step_1)},
      {"kspace_encode_step_2", offsetof(EncodingCounters, kspace_encode_step_2)},
      {"average", offsetof(EncodingCounters, average)},
      {"slice", offsetof(EncodingCounters, slice)},
      {"contrast", offsetof(EncodingCounters, contrast)},
      {"phase", offsetof(EncodingCounters, phase)},
      {"repetition", offsetof(EncodingCounters, repetition)},
      {"set", offsetof(EncodingCounters, set)},
      {"segment", offsetof(EncodingCounters, segment)},
  };
  for (const auto& [name, offset] : fields) H5Tinsert(type.get(), name, offset, H5T_NATIVE_UINT16);
  insert_array(type, "user", offsetof(EncodingCounters, user), H5T_NATIVE_UINT16, 8);
  return type;
}

Handle header_type() {
  Handle type = compound(sizeof(AcquisitionHeader));
  const auto insert = [&](const char* name, size_t offset, hid_t element) {
    H5Tinsert(type.get(), name, offset, element);
  };
  const Handle counters = counters_type();
  insert("version", offsetof(AcquisitionHeader, version), H5T_NATIVE_UINT16);
  insert("flags", offsetof(AcquisitionHeader, flags), H5T_NATIVE_UINT64);
  insert("measurement_uid", offsetof(AcquisitionHeader, measurement_uid), H5T_NATIVE_UINT32);
  insert("scan_counter", offsetof(AcquisitionHeader, scan_counter), H5T_NATIVE_UINT32);
  insert("acquisition_time_stamp", offsetof(AcquisitionHeader, acquisition_time_stamp), H5T_NATIVE_UINT32);
  insert_array(type, "physiology_time_stamp", offsetof(AcquisitionHeader, physiology_time_stamp), H5T_NATIVE_UINT32, 3);
  insert("number_of_samples", offsetof(AcquisitionHeader, number_of_samples), H5T_NATIVE_UINT16);
  insert("available_channels", offsetof(AcquisitionHeader, available_channels), H5T_NATIVE_UINT16);
  insert("active_channels", offsetof(AcquisitionHeader, active_channels), H5T_NATIVE_UINT16);
  insert_array(type, "channel_mask", offsetof(AcquisitionHeader, channel_mask), H5T_NATIVE_UINT64, 16);
  insert("discard_pre", offsetof(AcquisitionHeader, discard_pre), H5T_NATIVE_UINT16);
  insert("discard_post", offsetof(AcquisitionHeader, discard_post), H5T_NATIVE_UINT16);
  insert("center_sample", offsetof(AcquisitionHeader, center_sample), H5T_NATIVE_UINT16);
  insert("encoding_space_ref", offsetof(AcquisitionHeader, encoding_space_ref), H5T_NATIVE_UINT16);
  insert("trajectory_dimensions", offsetof(AcquisitionHeader, trajectory_dimensions), H5T_NATIVE_UINT16);
  insert("sample_time_us", offsetof(AcquisitionHeader, sample_time_us), H5T_NATIVE_FLOAT);
  insert_array(type, "position", offsetof(AcquisitionHeader, position), H5T_NATIVE_FLOAT, 3);
  insert_array(type, "read_dir", offsetof(AcquisitionHeader, read_dir), H5T_NATIVE_FLOAT, 3);
  insert_array(type, "phase_dir", offsetof(AcquisitionHeader, phase_dir), H5T_NATIVE_FLOAT, 3);
  insert_array(type, "slice_dir", offsetof(AcquisitionHeader, slice_dir), H5T_NATIVE_FLOAT, 3);
  insert_array(type, "patient_table_position", offsetof(AcquisitionHeader, patient_table_position), H5T_NATIVE_FLOAT,
               3);
  insert("idx", offsetof(AcquisitionHeader, idx), counters.get());
  insert_array(type, "user_int", offsetof(AcquisitionHeader, user_int), H5T_NATIVE_INT32, 8);
  insert_array(type, "user_float", offsetof(AcquisitionHeader, user_float), H5T_NATIVE_FLOAT, 8);
  return type;
}

Handle member(hid_t type, const char* name) {
  const int index = H5Tget_class(type) == H5T_COMPOUND ? H5Tget_member_index(type, name) : -1;
  return index < 0 ? Handle() : Handle(H5Tget_member_type(type, static_cast<unsigned>(index)), hdf5::close::type);
}

class Hdf5Acquisitions final : public AcquisitionStore {
 public:
  Hdf5Acquisitions(hdf5::File file, const std::string& group)
      : file_(std::move(file)), path_(group.empty() ? "data" : group + "/data"), name_(file_.place(path_)) {
    dataset_ = file_.dataset(path_);
    check_type();
    read_headers();
    prepare(samples_);
  }

  const std::string& name() const override { return name_; }
  std::span<const AcquisitionHeader> headers() const override { return headers_; }

  void fetch(std::span<const size_t> acquisitions, const Visit& visit) const override {
    fetch_lists(samples_, acquisitions, [&](size_t i, std::span<const float> values) {
      visit(i, {reinterpret_cast<const std::complex<float>*>(values.data()), values.size() / 2});
    });
  }

  void fetch_trajectory(std::span<const size_t> acquisitions, const VisitTrajectory& visit) const override {
    if (!trajectories_.references) {
      const Handle type(H5Dget_type(dataset_.get()), hdf5::close::type);
      const Handle list = member(type.get(), trajectories_.name);
      check<DataError>(
          list && H5Tget_class(list.get()) == H5T_VLEN,
          [&] { return fmt::format("{}: the readouts have no member 'traj' with lists of float32", name_); },
          "pass the trajectory with --trajectory FILE.npy");
      check_claims(trajectories_, "trajectories", "trajectory_dimensions");
      prepare(trajectories_);
    }
    fetch_lists(trajectories_, acquisitions, visit);
  }

 private:
  /// A member of the readouts that is a list of float32, as long as the header says.
  struct Lists {
    const char* name;
    const char* columns;  ///< what the numbers of a sample are
    uint16_t AcquisitionHeader::*count;
    uint64_t numbers_each;
    std::optional<hdf5::ReferenceReader> references = {};  ///< remembers its last chunk
    bool direct = false;

    uint64_t numbers(const AcquisitionHeader& header) const {
      return numbers_each * header.number_of_samples * (header.*count);
    }
  };
  using VisitNumbers = std::function<void(size_t acquisition, std::span<const float> values)>;

  void prepare(Lists& lists) const {
    lists.references.emplace(file_, path_, lists.name);
    lists.direct = lists.references->direct() && little_endian_float32(lists);
  }

  void check_claims(const Lists& lists, const char* what, const char* field) const {
    uint64_t claimed = 0;
    for (const auto& header : headers_) claimed += sizeof(float) * lists.numbers(header);
    check<DataError>(
        claimed <= file_.size_bytes(),
        [&] {
          return fmt::format("{}: the readout headers claim {} of {}, but the whole file has {}", name_,
                             bytes_text(static_cast<double>(claimed)), what,
                             bytes_text(static_cast<double>(file_.size_bytes())));
        },
        fmt::format("the file may be truncated, or its headers damaged (number_of_samples, {})", field));
  }

  void fetch_lists(Lists& lists, std::span<const size_t> acquisitions, const VisitNumbers& visit) const {
    if (lists.direct) {
      hdf5::silence_library();
      hdf5::GlobalHeap heap(file_);
      for (const size_t i : acquisitions) fetch_direct(lists, i, heap, visit);
      return;
    }
    const auto claimed = [&](size_t i) { return sizeof(float) * lists.numbers(headers_[i]); };
    for (size_t begin = 0; begin < acquisitions.size();) {
      size_t end = begin + 1;
      uint64_t bytes = claimed(acquisitions[begin]);
      while (end < acquisitions.size() && acquisitions[end] == acquisitions[end - 1] + 1 &&
             bytes + claimed(acquisitions[end]) <= block_bytes) {
        bytes += claimed(acquisitions[end++]);
      }
      fetch_run(lists, acquisitions[begin], end - begin, bytes, visit);
      begin = end;
    }
  }

  void check_type() const {
    const Handle type(H5Dget_type(dataset_.get()), hdf5::close::type);
    const Handle head = member(type.get(), "head");
    const Handle data = member(type.get(), "data");
    check<DataError>(
        head && data,
        [&] {
          return fmt::format("{}: expected compound elements {{head, traj, data}}, found {}", name_,
                             file_.info(path_).type);
        },
        "this is not ISMRMRD raw data");
    for (const char* field : {"flags", "number_of_samples", "active_channels", "center_sample", "idx"}) {
      check<DataError>(
          bool(member(head.get(), field)),
          [&] { return fmt::format("{}: the readout headers have no field '{}'", name_, field); },
          "the file was written by a program that does not follow ISMRMRD version 1");
    }
    const Handle element(H5Tget_class(data.get()) == H5T_VLEN ? H5Tget_super(data.get()) : -1, hdf5::close::type);
    check<DataError>(element && H5Tget_class(element.get()) == H5T_FLOAT,
                     [&] { return fmt::format("{}: expected the member 'data' to hold lists of float32", name_); });
  }

  void read_headers() {
    const Handle space(H5Dget_space(dataset_.get()), hdf5::close::space);
    check<DataError>(H5Sget_simple_extent_ndims(space.get()) == 1, [&] {
      return fmt::format("{}: expected shape [acquisitions], found {}", name_, shape_text(file_.info(path_).shape));
    });
    const auto total = static_cast<hsize_t>(H5Sget_simple_extent_npoints(space.get()));
    // dataset() compared the extent with the file's size; what was really stored is tighter.
    const double stored = 1100.0 * static_cast<double>(H5Dget_storage_size(dataset_.get())) + 65536;
    check<DataError>(
        static_cast<double>(total) * sizeof(AcquisitionHeader) <= stored,
        [&] {
          return fmt::format("{}: claims {} acquisitions, but stores only {}", name_, total,
                             bytes_text(static_cast<double>(H5Dget_storage_size(dataset_.get()))));
        },
        "the file may be damaged or truncated");
    headers_.resize(total);
    Handle type = compound(sizeof(AcquisitionHeader));
    H5Tinsert(type.get(), "head", 0, header_type().get());
    for (hsize_t start = 0; start < total; start += header_block) {
      const hsize_t count = std::min(header_block, total - start);
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr);
      const Handle memory(H5Screate_simple(1, &count, nullptr), hdf5::close::space);
      check<DataError>(
          H5Dread(dataset_.get(), type.get(), memory.get(), space.get(), H5P_DEFAULT, &headers_[start]) >= 0,
          [&] {
            return fmt::format("{}[{}]: the readout headers cannot be read: {}", name_, start, hdf5::library_reason());
          },
          "the file may be damaged or truncated");
    }
    check_claims(samples_, "samples", "active_channels");
  }

  bool little_endian_float32(const Lists& lists) const {
    const Handle type(H5Dget_type(dataset_.get()), hdf5::close::type);
    const Handle list = member(type.get(), lists.name);
    const Handle element(H5Tget_super(list.get()), hdf5::close::type);
    return H5Tequal(element.get(), H5T_IEEE_F32LE) > 0;
  }

  void check_length(const Lists& lists, size_t acquisition, uint64_t found) const {
    const AcquisitionHeader& header = headers_[acquisition];
    const uint64_t expected = lists.numbers(header);
    check<DataError>(
        found == expected,
        [&] {
          return fmt::format("{}[{}]: the header says {} samples x {} {} = {} numbers, found {}", name_, acquisition,
                             header.number_of_samples, header.*lists.count, lists.columns, expected, found);
        },
        "header and data do not belong together; convert the raw data again");
  }

  void fetch_direct(Lists& lists, size_t acquisition, hdf5::GlobalHeap& heap, const VisitNumbers& visit) const {
    const hdf5::HeapReference reference = lists.references->reference(acquisition);
    check_length(lists, acquisition, reference.length);
    const auto bytes = heap.value(reference, sizeof(float), fmt::format("{}[{}]", name_, acquisition));
    visit(acquisition, {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)});
  }

  /// Through the library: for storage that cannot be addressed directly (filters, other byte order).
  void fetch_run(const Lists& list, size_t first, size_t count, uint64_t claimed, const VisitNumbers& visit) const {
    hdf5::silence_library();
    const Handle floats(H5Tvlen_create(H5T_NATIVE_FLOAT), hdf5::close::type);
    const Handle type = compound(sizeof(hvl_t));
    H5Tinsert(type.get(), list.name, 0, floats.get());
    const auto start = static_cast<hsize_t>(first);
    const auto length = static_cast<hsize_t>(count);
    const Handle space(H5Dget_space(dataset_.get()), hdf5::close::space);
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &length, nullptr);
    const Handle target(H5Screate_simple(1, &length, nullptr), hdf5::close::space);
    std::vector<hvl_t> lists(count, hvl_t{0, nullptr});
    // Room for rounding, and for readouts that turn out longer than claimed, so that the message can say so.
    hdf5::VariableLengthMemory memory(2 * claimed + 64 * count + (1 << 20));
    check<DataError>(
        H5Dread(dataset_.get(), type.get(), target.get(), space.get(), memory.transfer_properties(), lists.data()) >= 0,
        [&] {
          return fmt::format("{}[{}]: '{}' of {} readouts cannot be read: {}", name_, first, list.name, count,
                             hdf5::library_reason());
        },
        "the file may be damaged or truncated, or its readouts longer than their headers say");
    for (size_t i = 0; i < count; ++i) {
      check_length(list, first + i, lists[i].len);
      check<DataError>(lists[i].p || lists[i].len == 0,
                       [&] { return fmt::format("{}[{}]: '{}' is empty", name_, first + i, list.name); });
      visit(first + i, {static_cast<const float*>(lists[i].p), lists[i].len});
    }
  }

  hdf5::File file_;
  std::string path_;
  std::string name_;
  Handle dataset_;  // after file_, so that it closes first
  std::vector<AcquisitionHeader> headers_;
  mutable Lists samples_{"data", "coils", &AcquisitionHeader::active_channels, 2};
  mutable Lists trajectories_{"traj", "axes of the trajectory", &AcquisitionHeader::trajectory_dimensions, 1};
};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void find_measurements(const hdf5::File& file, const std::string& group, int depth, std::vector<std::string>& found) {
  const auto datasets = file.datasets(group);
  if (contains(datasets, "data") && contains(datasets, "xml")) found.push_back(group);
  if (depth == 0) return;
  for (const auto& name : file.groups(group)) {
    if (found.size() >= 1000) return;
    find_measurements(file, group.empty() ? name : group + "/" + name, depth - 1, found);
  }
}

}  // namespace

std::vector<std::string> ismrmrd_measurements(const hdf5::File& file) {
  std::vector<std::string> found;
  find_measurements(file, "", 2, found);
  return found;
}

std::unique_ptr<ScanSource> open_ismrmrd(hdf5::File file, const ScanOptions& options) {
  std::vector<std::string> measurements = ismrmrd_measurements(file);
  check<DataError>(!measurements.empty(), [&] { return fmt::format("{}: holds no ISMRMRD measurement", file.name()); });
  std::string chosen = measurements.front();
  if (!options.dataset.empty()) {
    chosen = options.dataset;
    chosen.erase(0, chosen.find_first_not_of('/'));
    while (chosen.ends_with('/')) chosen.pop_back();
    check<DataError>(
        contains(measurements, chosen),
        [&] {
          return fmt::format("{}: has no measurement '{}'; it holds {}", file.name(), chosen, join_or(measurements));
        },
        fmt::format("pass --dataset {}", closest_match(chosen, measurements).empty()
                                             ? measurements.front()
                                             : closest_match(chosen, measurements)));
  }
  const std::string xml_path = chosen.empty() ? "xml" : chosen + "/xml";
  IsmrmrdDocument document =
      parse_ismrmrd_header(file.read_text(xml_path), file.place(xml_path), options.assume_recon_space_encoded);
  if (measurements.size() > 1 && options.dataset.empty()) {
    document.general.warnings.insert(
        document.general.warnings.begin(),
        fmt::format("the file holds {} measurements ({}); '{}' is read (choose with --dataset)", measurements.size(),
                    join_or(measurements), chosen));
  }
  auto store = std::make_unique<Hdf5Acquisitions>(std::move(file), chosen);
  return make_ismrmrd_scan(std::move(store), document, options, std::move(measurements), "ISMRMRD");
}

}  // namespace monarch::data
