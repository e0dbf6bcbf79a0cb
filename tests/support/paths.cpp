#include "tests/support/paths.h"

#include <fmt/format.h>

#include <filesystem>

namespace centavo::testing {
namespace {

// Programs and tests are built into one folder, and are copied into one to run elsewhere.
std::string beside_this_program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

}  // namespace

std::string source_path(const std::string& file) { return std::string(CENTAVO_SOURCE_DIR "/") + file; }

std::string program_path() { return beside_this_program("centavo"); }

std::string mpi_ranks_path() { return beside_this_program("mpi_ranks"); }

std::string launched_ranks_path() { return beside_this_program("launched_ranks"); }

std::string fake_library_folder(const char* name) {
  return beside_this_program(fmt::format("fake_libraries/{}", name));
}

std::string fake_library(const char* name) { return beside_this_program(fmt::format("fake_libraries/lib{}.so", name)); }

}  // namespace centavo::testing
