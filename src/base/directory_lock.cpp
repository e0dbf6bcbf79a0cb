#include "base/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "base/errors.h"

namespace centavo {

DirectoryLock::DirectoryLock(const std::string& directory)
    : descriptor_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) io_error("open", directory);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(descriptor_);
  if (reason == EWOULDBLOCK) {
    user_error("{} is in use by another centavo; wait until that ends or choose another directory with out=DIR",
               directory);
  }
  errno = reason;
  io_error("flock", directory);
}

DirectoryLock::~DirectoryLock() { ::close(descriptor_); }

}  // namespace centavo
