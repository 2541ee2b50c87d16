#include "scans.hpp"

#include <ismrmrd/dataset.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <sstream>

#include "monarch/data/ismrmrd_stream.hpp"

namespace monarch::test {

CommandResult run_monarch(const std::filesystem::path& folder, const std::string& arguments) {
  return run_command("cd '" + folder.string() + "' && '" MONARCH_PROGRAM "' " + arguments);
}

std::filesystem::path shepp_logan(const TemporaryFolder& folder, const std::string& more) {
  if (!has_program("ismrmrd_generate_cartesian_shepp_logan"))
    skip("ismrmrd_generate_cartesian_shepp_logan is not installed");
  const auto path = folder / "scan.h5";
  const auto made =
      run_command("ismrmrd_generate_cartesian_shepp_logan -m 128 -c 8 " + more + " -o '" + path.string() + "'");
  REQUIRE(made.exit_code == 0);
  return path;
}

void copy_to_stream(const std::filesystem::path& scan, std::ostream& stream) {
  ISMRMRD::Dataset dataset(scan.c_str(), "dataset", false);
  std::string xml;
  dataset.readHeader(xml);
  data::StreamWriter writer(stream);
  writer.header(xml);
  for (uint32_t i = 0; i < dataset.getNumberOfAcquisitions(); ++i) {
    ISMRMRD::Acquisition acquisition;
    dataset.readAcquisition(i, acquisition);
    data::ismrmrd::AcquisitionHeader header;
    static_assert(sizeof header == sizeof(ISMRMRD::ISMRMRD_AcquisitionHeader));
    std::memcpy(&header, &acquisition.getHead(), sizeof header);
    writer.acquisition(header, {acquisition.getDataPtr(), acquisition.getNumberOfDataElements()},
                       {acquisition.getTrajPtr(), acquisition.getNumberOfTrajElements()});
  }
  writer.close();
}

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_bytes(path));
}

}  // namespace monarch::test
