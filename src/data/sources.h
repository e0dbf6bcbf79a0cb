// The files behind the paths that a user names.
//
// A path is a file or a directory. Of a directory every file below it counts, in the order of its path's bytes, but for
// names that begin with a dot. Links are followed; a file or directory that is reached again, over a link or because
// it was named twice, is left out. The name tells the kind: `.jsonl` or text, with `.gz` or `.zst` behind it.
//
// Errors: a UserError for a path that is missing or cannot be opened, for what is neither file nor directory, and for
// a directory without a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace centavo {

enum class TextFormat : uint8_t { plain, jsonl };
enum class Compression : uint8_t { none, gzip, zstd };

struct Source {
  std::string path;
  TextFormat format = TextFormat::plain;
  Compression compression = Compression::none;
  int64_t size_bytes = 0;  // of the file
  bool operator==(const Source&) const = default;
};

std::vector<Source> find_sources(const std::vector<std::string>& paths);

}  // namespace centavo
