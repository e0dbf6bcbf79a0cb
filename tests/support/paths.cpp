#include "tests/support/paths.h"

namespace centavo::testing {

std::string source_path(const std::string& file) { return std::string(CENTAVO_SOURCE_DIR "/") + file; }

const char* program_path() { return CENTAVO_PROGRAM; }

const char* mpi_ranks_path() { return CENTAVO_MPI_RANKS; }

const char* launched_ranks_path() { return CENTAVO_LAUNCHED_RANKS; }

}  // namespace centavo::testing
