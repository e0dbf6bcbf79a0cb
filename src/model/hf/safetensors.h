// The safetensors format: named tensors in one file, read through a memory map.
//
//   u64 length N (little-endian) | N bytes of JSON, padded with spaces | data
//   JSON: {"__metadata__": {string: string}, NAME: {"dtype": D, "shape": [..], "data_offsets": [begin, end)}}
//
// Everything is checked before anything is used: N at most 16 MiB; strict JSON without duplicate names; known dtypes
// (F64 F32 BF16 F8_E4M3 F8_E5M2 I32 I64 U8); shapes whose bytes are exactly end - begin; tensors that tile the data
// from 0 without hole or overlap; a file that ends with the last one. Any defect is a UserError that names file and
// defect. Bytes are not aligned in files of other writers: copy them, do not cast the pointer.
//
// Source: github.com/huggingface/safetensors, the format's definition and reference reader.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_source.h"
#include "base/dtype.h"
#include "base/files.h"
#include "program/program.h"

namespace centavo {

// Row-major elements, little-endian.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
};

// A tensor to be written, its bytes in one place or several: the parts end to end.
struct TensorParts {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<ByteSource> parts;
};

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  // In the order of the data. The bytes live as long as this object, moved or not.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  const TensorView* find(std::string_view name) const;  // null when absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// Writes in the reference writer's order (dtype I64 F64 F32 I32 BF16 F8_E4M3 F8_E5M2 U8, then name), the data 8-byte
// aligned: the same tensors and metadata always give the same bytes. Adds the metadata "format": "pt" when absent,
// without which other readers refuse. Streams to a new file, syncs it and renames it over `path`. Names must be
// distinct UTF-8 and bytes must fit shapes (CHECKed). Bytes in memory go from where they are to
// the file, without a copy, others in pieces: no tensor is ever held as a whole.
void write_safetensors(const std::string& path, std::span<const TensorParts> tensors,
                       std::map<std::string, std::string> metadata);
void write_safetensors(const std::string& path, std::span<const TensorView> tensors,
                       std::map<std::string, std::string> metadata);

}  // namespace centavo
