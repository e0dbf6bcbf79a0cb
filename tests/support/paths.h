// Where this checkout and its program lie.
#pragma once

#include <string>

namespace centavo::testing {

std::string source_path(const std::string& file);   // in the checkout
const char* program_path();                         // build/…/centavo
const char* mpi_ranks_path();                       // build/…/mpi_ranks, of tests/mpi_ranks/
const char* launched_ranks_path();                  // build/…/launched_ranks, of tests/launched_ranks/
std::string fake_library(const char* name);         // build/…/fake_libraries/libNAME.so, of tests/fake_libraries/
std::string fake_library_folder(const char* name);  // build/…/fake_libraries/NAME, in the loader's place

}  // namespace centavo::testing
