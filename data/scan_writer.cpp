#include "monarch/data/scan_writer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <ismrmrd/dataset.h>
#include <ismrmrd/ismrmrd.h>
#include <ismrmrd/xml.h>

#include <cmath>
#include <optional>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/hdf5.hpp"

namespace monarch::data {

namespace fs = std::filesystem;

struct ScanWriter::Backend {
  virtual ~Backend() = default;
  virtual void add(const ScanSlice& slice, int64_t index) = 0;
  virtual void finish() {}
};

namespace {

const std::vector<std::pair<ScanFormat, std::string>>& names() {
  static const std::vector<std::pair<ScanFormat, std::string>> all{
      {ScanFormat::skm_tea, "skm-tea"}, {ScanFormat::fastmri, "fastmri"}, {ScanFormat::ismrmrd, "ismrmrd"}};
  return all;
}

/// The XML header. Its x is the readout: image x, but image y of fastMRI's layout.
std::string header_xml(const ScanLayout& layout, bool readout_along_y) {
  const auto [ny, nx] = layout.matrix;
  ISMRMRD::EncodingSpace space;
  space.matrixSize = ISMRMRD::MatrixSize(static_cast<unsigned short>(nx), static_cast<unsigned short>(ny), 1);
  space.fieldOfView_mm.x = static_cast<float>(layout.voxel_mm[0] * static_cast<double>(nx));
  space.fieldOfView_mm.y = static_cast<float>(layout.voxel_mm[1] * static_cast<double>(ny));
  space.fieldOfView_mm.z = static_cast<float>(layout.voxel_mm[2]);
  if (readout_along_y) {
    std::swap(space.matrixSize.x, space.matrixSize.y);
    std::swap(space.fieldOfView_mm.x, space.fieldOfView_mm.y);
  }
  const auto limit = [](int64_t count) {
    return ISMRMRD::Limit(0, static_cast<uint16_t>(count - 1), static_cast<uint16_t>(count / 2));
  };
  ISMRMRD::Encoding encoding;
  encoding.encodedSpace = encoding.reconSpace = space;
  encoding.trajectory = ISMRMRD::TrajectoryType::CARTESIAN;
  encoding.encodingLimits.kspace_encoding_step_1 = limit(space.matrixSize.y);
  encoding.encodingLimits.slice = ISMRMRD::Limit(0, static_cast<uint16_t>(layout.slices - 1), 0);
  encoding.encodingLimits.contrast = ISMRMRD::Limit(0, static_cast<uint16_t>(layout.echoes - 1), 0);
  ISMRMRD::IsmrmrdHeader header;
  header.experimentalConditions.H1resonanceFrequency_Hz = 127740000;  // 3 T
  header.acquisitionSystemInformation = ISMRMRD::AcquisitionSystemInformation();
  header.acquisitionSystemInformation->systemFieldStrength_T = 3;
  header.acquisitionSystemInformation->receiverChannels = static_cast<unsigned short>(layout.coils);
  header.measurementInformation = ISMRMRD::MeasurementInformation();
  header.measurementInformation->measurementID = layout.scan_id;
  header.measurementInformation->patientPosition = "HFS";
  header.measurementInformation->protocolName = layout.scan_id;
  header.sequenceParameters = ISMRMRD::SequenceParameters();
  std::vector<float> times(layout.echo_times_ms.begin(), layout.echo_times_ms.end());
  if (!times.empty()) header.sequenceParameters->TE = times;
  header.encoding.push_back(encoding);
  std::ostringstream out;
  ISMRMRD::serialize(header, out);
  return out.str();
}

std::string name_of_reference(const ScanSlice& slice) {
  return fmt::format("k-space {}, sensitivities {}, target {}", shape_text(slice.kspace.sizes()),
                     shape_text(slice.sensitivities.sizes()), shape_text(slice.target.sizes()));
}

class SkmTea final : public ScanWriter::Backend {
 public:
  SkmTea(const fs::path& path, const ScanLayout& o) : file_(hdf5::File::create(path)) {
    const auto [ny, nx] = o.matrix;
    file_.reserve("kspace", at::kComplexFloat, {o.slices, ny, nx, o.echoes, o.coils});
    file_.reserve("maps", at::kComplexFloat, {o.slices, ny, nx, o.coils, o.maps});
    file_.reserve("target", at::kComplexFloat, {o.slices, ny, nx, o.echoes, o.maps});
    for (const auto& [name, mask] : o.masks) file_.write("masks/" + name, mask);
    // Axes x, y, z of the arrays: slices, image y, image x.
    file_.write_attribute("", "voxel_spacing", std::vector<double>{o.voxel_mm[2], o.voxel_mm[1], o.voxel_mm[0]});
    file_.write_attribute("", "orientation", std::string("SI,AP,LR"));
    file_.write_attribute("", "scan_id", o.scan_id);
    if (!o.echo_times_ms.empty()) file_.write_attribute("", "echo_times_ms", o.echo_times_ms);
    for (const auto& [name, text] : o.notes) file_.write_attribute("", name, text);
  }
  void add(const ScanSlice& slice, int64_t index) override {
    file_.write("kspace", slice.kspace.permute({2, 3, 0, 1}), index);
    file_.write("maps", slice.sensitivities.permute({2, 3, 1, 0}), index);
    file_.write("target", slice.target.permute({2, 3, 0, 1}), index);
  }

 private:
  hdf5::File file_;
};

class FastMri final : public ScanWriter::Backend {
 public:
  FastMri(const fs::path& path, const ScanLayout& o) : file_(hdf5::File::create(path)), scan_id_(o.scan_id) {
    const auto [ny, nx] = o.matrix;
    file_.reserve("kspace", at::kComplexFloat, {o.slices, o.coils, ny, nx});
    file_.write_text("ismrmrd_header", header_xml(o, true));
    for (const auto& [name, text] : o.notes) file_.write_attribute("", name, text);
  }
  void add(const ScanSlice& slice, int64_t index) override {
    file_.write("kspace", slice.kspace[0], index);
    const std::vector<int64_t> dims{-2, -1};
    const at::Tensor images =
        at::fft_fftshift(at::fft_ifft2(at::fft_ifftshift(slice.kspace[0], dims), c10::nullopt, dims, "ortho"), dims);
    images_.push_back(at::linalg_vector_norm(at::view_as_real(images), 2, {0, 3}));
  }
  void finish() override {
    const at::Tensor all = at::stack(images_);
    file_.write("reconstruction_rss", all);
    file_.write_attribute("", "max", all.max().item<double>());
    file_.write_attribute("", "norm", all.to(at::kDouble).norm().item<double>());
    file_.write_attribute("", "acquisition", std::string("simulated"));
    file_.write_attribute("", "patient_id", scan_id_);
  }

 private:
  hdf5::File file_;
  std::string scan_id_;
  std::vector<at::Tensor> images_;
};

class Ismrmrd final : public ScanWriter::Backend {
 public:
  Ismrmrd(const fs::path& path, ScanLayout layout) : layout_(std::move(layout)) {
    file_.emplace(path.c_str(), "dataset", true);
    file_->writeHeader(header_xml(layout_, false));
  }
  void add(const ScanSlice& slice, int64_t index) override {
    const auto [ny, nx] = layout_.matrix;
    const at::Tensor lines = slice.kspace.permute({0, 2, 1, 3}).contiguous();  // [echo, y, coil, x]
    const auto* samples = lines.const_data_ptr<c10::complex<float>>();
    ISMRMRD::Acquisition readout(static_cast<uint16_t>(nx), static_cast<uint16_t>(layout_.coils));
    for (int64_t echo = 0; echo < layout_.echoes; ++echo) {
      for (int64_t y = 0; y < ny; ++y) {
        readout.clearAllFlags();
        if (y == 0) readout.setFlag(ISMRMRD::ISMRMRD_ACQ_FIRST_IN_SLICE);
        if (y == ny - 1) readout.setFlag(ISMRMRD::ISMRMRD_ACQ_LAST_IN_SLICE);
        readout.scan_counter() = static_cast<uint32_t>(counter_++);
        readout.center_sample() = static_cast<uint16_t>(nx / 2);
        readout.sample_time_us() = 5;
        readout.idx().kspace_encode_step_1 = static_cast<uint16_t>(y);
        readout.idx().slice = static_cast<uint16_t>(index);
        readout.idx().contrast = static_cast<uint16_t>(echo);
        // Axial slices from the feet up.
        const float directions[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
        std::copy_n(directions[0], 3, readout.read_dir());
        std::copy_n(directions[1], 3, readout.phase_dir());
        std::copy_n(directions[2], 3, readout.slice_dir());
        readout.position()[2] =
            static_cast<float>(static_cast<double>(index - layout_.slices / 2) * layout_.voxel_mm[2]);
        const auto* from = samples + (echo * ny + y) * layout_.coils * nx;
        for (int64_t i = 0; i < layout_.coils * nx; ++i) readout.getDataPtr()[i] = {from[i].real(), from[i].imag()};
        file_->appendAcquisition(readout);
      }
    }
  }
  void finish() override { file_.reset(); }

 private:
  ScanLayout layout_;
  std::optional<ISMRMRD::Dataset> file_;
  int64_t counter_ = 0;
};

}  // namespace

std::string scan_format_name(ScanFormat format) {
  for (const auto& [known, name] : names())
    if (known == format) return name;
  return "unknown";
}

ScanFormat parse_scan_format(const std::string& name) {
  std::vector<std::string> all;
  for (const auto& [format, known] : names()) {
    if (known == name) return format;
    all.push_back(known);
  }
  fail<ConfigError>(fmt::format("no scan format is called '{}'", name), join_or(all));
}

struct ScanWriter::State {
  fs::path path;
  ScanLayout layout;
  ScanFormat format;
  OutputFolder output;
  std::unique_ptr<Backend> backend;
  int64_t done = 0;

  State(const fs::path& to, ScanFormat kind, ScanLayout description)
      : path(to),
        layout(std::move(description)),
        format(kind),
        output(to.has_parent_path() ? to.parent_path() : fs::path(".")) {}

  template <class Action>
  void run(Action action) const {
    try {
      action();
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& error) {  // libismrmrd's
      fail<DataError>(fmt::format("{}: cannot be written: {}", path.string(), error.what()), "is the disk full?");
    }
  }
};

ScanWriter::ScanWriter(const fs::path& path, ScanFormat format, ScanLayout o) {
  const int64_t most = format == ScanFormat::skm_tea ? int64_t{1} << 20 : 65535;  // counters of 16 bits
  for (const int64_t extent : {o.slices, o.echoes, o.coils, o.maps, o.matrix[0], o.matrix[1]}) {
    check<ConfigError>(extent >= 1 && extent <= most, [&] {
      return fmt::format("a scan of {} slices, {} echoes, {} coils, {} maps, matrix {} × {}: extents from 1 to {}",
                         o.slices, o.echoes, o.coils, o.maps, o.matrix[0], o.matrix[1], most);
    });
  }
  check<ConfigError>(
      format != ScanFormat::fastmri || o.echoes == 1,
      [&] { return fmt::format("fastMRI files hold one echo, not {}", o.echoes); }, "ask for one, or for skm-tea");
  std::error_code error;
  check<DataError>(!fs::is_directory(path, error),
                   [&] { return fmt::format("{}: is a directory, expected a file", path.string()); });
  state_ = std::make_unique<State>(path, format, std::move(o));
  const fs::path staged = state_->output.path(path.filename().string());
  state_->run([&] {
    const ScanLayout& layout = state_->layout;
    if (format == ScanFormat::skm_tea) state_->backend = std::make_unique<SkmTea>(staged, layout);
    if (format == ScanFormat::fastmri) state_->backend = std::make_unique<FastMri>(staged, layout);
    if (format == ScanFormat::ismrmrd) state_->backend = std::make_unique<Ismrmrd>(staged, layout);
  });
}

ScanWriter::~ScanWriter() = default;

void ScanWriter::add(const ScanSlice& slice) {
  State& state = *state_;
  const ScanLayout& o = state.layout;
  const auto [ny, nx] = o.matrix;
  const auto fits = [](const at::Tensor& tensor, at::IntArrayRef shape) {
    return tensor.defined() && tensor.sizes() == shape;
  };
  const bool all = state.format == ScanFormat::skm_tea;
  check<ShapeError>(state.done < o.slices,
                    [&] { return fmt::format("{}: has its {} slices already", state.path.string(), o.slices); });
  check<ShapeError>(fits(slice.kspace, {o.echoes, o.coils, ny, nx}) &&
                        (!all || (fits(slice.sensitivities, {o.maps, o.coils, ny, nx}) &&
                                  fits(slice.target, {o.echoes, o.maps, ny, nx}))),
                    [&] {
                      return fmt::format("{}: slice {} does not fit {} echoes, {} coils, {} maps, matrix {} × {}: {}",
                                         state.path.string(), state.done, o.echoes, o.coils, o.maps, ny, nx,
                                         all && slice.sensitivities.defined() && slice.target.defined()
                                             ? name_of_reference(slice)
                                             : "k-space " + shape_text(slice.kspace.sizes()));
                    });
  for (const at::Tensor* tensor : {&slice.kspace, &slice.sensitivities, &slice.target}) {
    check<DtypeError>(!tensor->defined() || tensor->scalar_type() == at::kComplexFloat, [&] {
      return fmt::format("{}: a slice of {}, expected complex64", state.path.string(), toString(tensor->scalar_type()));
    });
  }
  state.run([&] { state.backend->add(slice, state.done); });
  ++state.done;
}

void ScanWriter::commit() {
  State& state = *state_;
  check<DataError>(
      state.done == state.layout.slices,
      [&] {
        return fmt::format("{}: {} of {} slices are there", state.path.string(), state.done, state.layout.slices);
      },
      "add the others before committing");
  state.run([&] { state.backend->finish(); });
  state.backend.reset();  // closes the file
  state.output.commit();
}

}  // namespace monarch::data
