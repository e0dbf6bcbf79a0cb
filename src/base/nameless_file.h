// A file that vanishes with its last user: made in a directory and unlinked at once.
#pragma once

#include <string>

namespace centavo {

class NamelessFile {
 public:
  // UserError where no file can be made: "cannot PURPOSE in DIRECTORY: …".
  NamelessFile(const std::string& directory, const char* purpose);
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;
  ~NamelessFile();

  int fd() const { return fd_; }
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  int fd_ = -1;
};

}  // namespace centavo
