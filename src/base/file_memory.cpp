#include "base/file_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/errors.h"
#include "base/nameless_file.h"

namespace centavo {
namespace {

[[noreturn]] void no_room(const std::string& directory, int64_t bytes) {
  throw OutOfMemory(
      fmt::format("the plan keeps {} bytes of host memory in {}, and its disk has no room for them; name another "
                  "directory or offload "
                  "less",
                  bytes, directory));
}

// Asked first, because taking what is there until it runs out would fill the disk under everyone else.
void require_free(int fd, const std::string& directory, int64_t bytes) {
  struct statvfs status = {};
  if (::fstatvfs(fd, &status) != 0) io_error("fstatvfs", directory);
  if (static_cast<uint64_t>(bytes) / status.f_frsize >= status.f_bavail) no_room(directory, bytes);
}

void take_blocks(int fd, const std::string& directory, int64_t bytes) {
  int failure = EINTR;
  while (failure == EINTR) failure = ::posix_fallocate(fd, 0, bytes);
  if (failure == ENOSPC || failure == EFBIG || failure == EDQUOT) no_room(directory, bytes);
  errno = failure;
  if (failure != 0) io_error("posix_fallocate", directory);
}

}  // namespace

std::byte* map_file_memory(const std::string& directory, int64_t bytes) {
  const NamelessFile file(directory, "keep host memory");
  require_free(file.fd(), directory, bytes);
  take_blocks(file.fd(), directory, bytes);
  void* memory = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  if (memory == MAP_FAILED) io_error("mmap", directory);
  return static_cast<std::byte*>(memory);
}

}  // namespace centavo
