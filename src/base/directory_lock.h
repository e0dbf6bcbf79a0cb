// One process at a time in a directory: an advisory lock on the directory itself, so that nothing is left behind. The
// system releases it when the process ends, however it ends.
//
// Errors: UserError when another process (or another lock of this one) holds it; IoError when the file system has no
// locks or the directory cannot be opened. Source: flock(2).
#pragma once

#include <string>

namespace centavo {

class DirectoryLock {
 public:
  // The directory must exist.
  explicit DirectoryLock(const std::string& directory);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

 private:
  int descriptor_ = -1;
};

}  // namespace centavo
