// The fastest algorithms of a GPU, kept on disk: timed once, the same in every later run.
//
//   DIRECTORY/<GPU>-sm<architecture>-cublaslt<version>-way<number>.json      {"case": "choice", …}
//
// The name holds what a choice depends on, so another GPU, library or way of choosing begins anew.
#pragma once

#include <string>

#include "machine/cuda/gpu.h"
#include "ops/cuda/libraries.h"

namespace centavo {

class TuningFile {
 public:
  // An empty directory: nothing is kept.
  TuningFile(const std::string& directory, const Gpu& gpu);

  // What the file holds; nothing where it is missing or damaged.
  void load(TuningTable& table) const;
  // Atomic. A directory that cannot be written is passed over: the next run times again.
  void save(const TuningTable& table) const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace centavo
