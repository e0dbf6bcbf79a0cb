// Libraries that are opened when first used, so that a program starts without them and can say what is missing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace centavo {

// Where a library of this file name may lie, best first: beside the program and in its lib/, the folders that the
// loader searches (LD_LIBRARY_PATH first), the bare name for what stands in the loader's cache; last `more_folders`.
std::vector<std::string> library_candidates(const std::string& file_name, const std::vector<std::string>& more_folders);

// A library that stays open until the program ends.
struct OpenLibrary {
  void* handle = nullptr;  // null: none will do, `refusal` says why
  std::string path;        // as the loader names the file
  int64_t version = 0;
  std::string refusal;
  // A function of it; null where it has none of this name.
  void* find(const char* function) const;
};

// What is asked of a library.
struct LibraryWish {
  std::string name;        // "cuDNN", for messages
  const char* version_of;  // the function size_t() that returns its version
  // Why this version will not do; empty when it does. `find` gives the library's functions.
  std::function<std::string(int64_t version, const std::function<void*(const char*)>& find)> refusal;
};

// The first of the candidates that will do. Each is looked at in a namespace of its own (dlmopen), so that one that
// will not leaves nothing behind that another could be mixed with. Symbols are not given to other libraries.
OpenLibrary open_library(const LibraryWish& wish, const std::vector<std::string>& candidates);

}  // namespace centavo
