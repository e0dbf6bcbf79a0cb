// Where this checkout lies, and what was built beside the test that runs.
#pragma once

#include <string>

namespace centavo::testing {

std::string source_path(const std::string& file);   // in the checkout
std::string program_path();                         // build/…/centavo
std::string mpi_ranks_path();                       // build/…/mpi_ranks, of tests/mpi_ranks/
std::string launched_ranks_path();                  // build/…/launched_ranks, of tests/launched_ranks/
std::string fake_library(const char* name);         // build/…/fake_libraries/libNAME.so, of tests/fake_libraries/
std::string fake_library_folder(const char* name);  // build/…/fake_libraries/NAME, in the loader's place

}  // namespace centavo::testing
