// How fast a directory's disk takes and gives a file.
#pragma once

#include <cstdint>
#include <string>

namespace centavo {

struct DiskRate {
  double write_bytes_per_second = 0;  // until the disk has it (fsync)
  double read_bytes_per_second = 0;   // 0: not known, the system would not forget the file and gave it from memory
};

// Writes a file without a name of `bytes` bytes (rounded up to 1 MiB) and reads it back, past the page cache.
// UserError when no file can be made in `directory`, IoError where the disk refuses.
DiskRate measured_disk_rate(const std::string& directory, int64_t bytes);

}  // namespace centavo
