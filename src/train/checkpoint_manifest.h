// The directory of a checkpoint, manifest.json: what it is, which files it has, and where each tensor's elements are.
//
//   {
//     "format": 2, "step": N, "program": HASH, "data": HASH,
//     "writers": R,                     ranks that wrote it, a state file each
//     "files": {NAME: {"size": BYTES, "xxh3": HASH}},     config.toml, program.txt and the R state files; no other
//     "tensors": [{"name": NAME, "dtype": D, "shape": [..], "pieces": [[WRITER, BEGIN, END], ..]}],
//     "self": HASH                      the XXH3-64 of the text without this field (base/seal.h)
//   }
//
// Everything is checked on reading: numbers within their ranges, names of files exactly those above, known dtypes,
// shapes of at most 2^48 elements, pieces that tile their tensor in order without hole or overlap. Any defect is a
// UserError that names file and defect. Bounds: 99,999 writers, 8 dimensions, names of 255 bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/checkpoint_pieces.h"

namespace centavo {

struct FileRecord {
  int64_t size = 0;
  uint64_t hash = 0;  // XXH3-64
  bool operator==(const FileRecord&) const = default;
};

struct Manifest {
  int64_t step = 0;
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  int64_t writers = 1;
  std::map<std::string, FileRecord> files;
  std::vector<TensorPieces> tensors;
  bool operator==(const Manifest&) const = default;
};

// state-00003-of-00008.safetensors
std::string state_file(int64_t writer, int64_t writers);
// Of a checkpoint, without the manifest; the state files last, by writer.
std::vector<std::string> checkpoint_file_names(int64_t writers);

// Sealed. Equal manifests give equal text.
std::string print_manifest(const Manifest& manifest);
// `path` is for messages.
Manifest parse_manifest(const std::string& path, const std::string& sealed);

// UserError: the checkpoint file `path` is damaged, and how.
[[noreturn]] void damaged_checkpoint_file(const std::string& path, const std::string& defect);

}  // namespace centavo
