#include "base/disk_rate.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/errors.h"
#include "base/nameless_file.h"
#include "base/rng.h"

namespace centavo {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 20;
// More of the file than this still in memory: reading it says nothing of the disk.
constexpr double kMostCached = 0.05;

// Such that no file system can squeeze it.
std::vector<uint32_t> random_block() {
  std::vector<uint32_t> block(kBlockBytes / sizeof(uint32_t));
  const RandomStream random{1, stream_of("disk", 4)};
  for (size_t i = 0; i < block.size(); ++i) block[i] = random.bits(i);
  return block;
}

template <class Move>
void move_blocks(int64_t blocks, const Move& move, const char* call, const std::string& path) {
  for (int64_t i = 0; i < blocks; ++i) {
    for (int64_t done = 0; done < kBlockBytes;) {
      const ssize_t moved = move(done, kBlockBytes - done, i * kBlockBytes + done);
      if (moved <= 0) io_error(call, path);
      done += moved;
    }
  }
}

double write_seconds(const NamelessFile& file, int64_t blocks) {
  const std::vector<uint32_t> block = random_block();
  const auto* from = reinterpret_cast<const char*>(block.data());
  const auto start = std::chrono::steady_clock::now();
  move_blocks(
      blocks,
      [&](int64_t done, int64_t count, int64_t at) {
        return ::pwrite(file.fd(), from + done, static_cast<size_t>(count), at);
      },
      "write", file.directory());
  if (::fsync(file.fd()) != 0) io_error("fsync", file.directory());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The share of the file that lies in memory.
double cached_share(const NamelessFile& file, int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd(), 0);
  if (memory == MAP_FAILED) io_error("mmap", file.directory());
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((size + page - 1) / page);
  const int failed = ::mincore(memory, size, pages.data());
  ::munmap(memory, size);
  if (failed != 0) return 1;
  const auto cached = std::ranges::count_if(pages, [](unsigned char p) { return (p & 1) != 0; });
  return static_cast<double>(cached) / static_cast<double>(pages.size());
}

double read_seconds(const NamelessFile& file, int64_t blocks) {
  std::vector<char> block(kBlockBytes);
  const auto start = std::chrono::steady_clock::now();
  move_blocks(
      blocks,
      [&](int64_t done, int64_t count, int64_t at) {
        return ::pread(file.fd(), block.data() + done, static_cast<size_t>(count), at);
      },
      "read", file.directory());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

DiskRate measured_disk_rate(const std::string& directory, int64_t bytes) {
  const int64_t blocks = std::max<int64_t>((bytes + kBlockBytes - 1) / kBlockBytes, 1);
  const auto size = static_cast<double>(blocks * kBlockBytes);
  const NamelessFile file(directory, "measure the disk");
  DiskRate rate;
  rate.write_bytes_per_second = size / write_seconds(file, blocks);
  ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
  if (cached_share(file, blocks * kBlockBytes) <= kMostCached) {
    rate.read_bytes_per_second = size / read_seconds(file, blocks);
  }
  return rate;
}

}  // namespace centavo
