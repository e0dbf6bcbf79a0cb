#include "tests/support/paths.h"

#include <fmt/format.h>

namespace centavo::testing {

std::string source_path(const std::string& file) { return std::string(CENTAVO_SOURCE_DIR "/") + file; }

const char* program_path() { return CENTAVO_PROGRAM; }

const char* mpi_ranks_path() { return CENTAVO_MPI_RANKS; }

const char* launched_ranks_path() { return CENTAVO_LAUNCHED_RANKS; }

std::string fake_library_folder(const char* name) { return fmt::format("{}/{}", CENTAVO_FAKE_LIBRARIES, name); }

std::string fake_library(const char* name) { return fmt::format("{}/lib{}.so", CENTAVO_FAKE_LIBRARIES, name); }

}  // namespace centavo::testing
