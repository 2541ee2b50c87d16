#pragma once
// The binary structs of ISMRMRD version 1, as they lie in streams and (field by field) in HDF5 files.
// https://ismrmrd.readthedocs.io/en/latest/mrd_raw_data.html

#include <array>
#include <complex>
#include <cstddef>
#include <cstdint>

namespace monarch::data::ismrmrd {

#pragma pack(push, 2)

/// Loop counters of one readout.
struct EncodingCounters {
  uint16_t kspace_encode_step_1;  ///< phase-encoding line (y)
  uint16_t kspace_encode_step_2;  ///< partition (z)
  uint16_t average, slice, contrast, phase, repetition, set, segment;
  uint16_t user[8];
};

/// Header of one readout.
struct AcquisitionHeader {
  uint16_t version;
  uint64_t flags;  ///< bit n-1 is Flag n
  uint32_t measurement_uid, scan_counter, acquisition_time_stamp;
  uint32_t physiology_time_stamp[3];
  uint16_t number_of_samples, available_channels, active_channels;
  uint64_t channel_mask[16];
  uint16_t discard_pre, discard_post, center_sample, encoding_space_ref, trajectory_dimensions;
  float sample_time_us;
  float position[3];  ///< centre of the slice or slab, mm, LPS
  float read_dir[3], phase_dir[3], slice_dir[3];
  float patient_table_position[3];
  EncodingCounters idx;
  int32_t user_int[8];
  float user_float[8];
};

/// Header of one image.
struct ImageHeader {
  uint16_t version, data_type;
  uint64_t flags;
  uint32_t measurement_uid;
  uint16_t matrix_size[3];  ///< x, y, z
  float field_of_view[3];   ///< mm
  uint16_t channels;
  float position[3];
  float read_dir[3], phase_dir[3], slice_dir[3];
  float patient_table_position[3];
  uint16_t average, slice, contrast, phase, repetition, set;
  uint32_t acquisition_time_stamp;
  uint32_t physiology_time_stamp[3];
  uint16_t image_type, image_index, image_series_index;
  int32_t user_int[8];
  float user_float[8];
  uint32_t attribute_string_len;
};

#pragma pack(pop)

static_assert(sizeof(EncodingCounters) == 34);
static_assert(sizeof(AcquisitionHeader) == 340 && offsetof(AcquisitionHeader, number_of_samples) == 34 &&
              offsetof(AcquisitionHeader, position) == 182 && offsetof(AcquisitionHeader, idx) == 242);
static_assert(sizeof(ImageHeader) == 198 && offsetof(ImageHeader, position) == 36 &&
              offsetof(ImageHeader, attribute_string_len) == 194);

/// Acquisition flags, by number (the bit is number - 1).
enum Flag : int {
  noise_measurement = 19,
  parallel_calibration = 20,
  parallel_calibration_and_imaging = 21,
  reverse_readout = 22,
  navigation_data = 23,
  phase_correction_data = 24,
  last_in_measurement = 25,
  hp_feedback_data = 26,
  dummy_scan = 27,
  rt_feedback_data = 28,
  surface_coil_correction = 29,
  phase_stabilization_reference = 30,
  phase_stabilization = 31,
};

inline bool has(const AcquisitionHeader& header, int flag) { return header.flags >> (flag - 1) & 1; }

/// Element types of images and arrays.
enum DataType : uint16_t { type_u16 = 1, type_i16, type_u32, type_i32, type_f32, type_f64, type_c32, type_c64 };

/// Bytes of one element, 0 for an unknown type.
constexpr size_t element_bytes(uint16_t type) {
  constexpr std::array<size_t, 9> bytes{0, 2, 2, 4, 4, 4, 8, 8, 16};
  return type < bytes.size() ? bytes[type] : 0;
}

/// Identifiers of stream messages.
enum Message : uint16_t {
  message_config_file = 1,
  message_config_text = 2,
  message_header = 3,
  message_close = 4,
  message_text = 5,
  message_acquisition = 1008,
  message_image = 1022,
  message_waveform = 1026,
  message_array = 1030,
};

}  // namespace monarch::data::ismrmrd
