#include "base/nameless_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/errors.h"

namespace centavo {

NamelessFile::NamelessFile(const std::string& directory, const char* purpose) : directory_(directory) {
  std::string name = directory + "/centavo.XXXXXX";
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) {
    user_error("cannot {} in {}: {}; name a directory in which this user may make files", purpose, directory,
               std::strerror(errno));
  }
  ::unlink(name.c_str());
}

NamelessFile::~NamelessFile() { ::close(fd_); }

}  // namespace centavo
