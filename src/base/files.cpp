#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/errors.h"

namespace centavo {
namespace {

void rename_path(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) io_error("rename to", to);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  // Some file systems report a failed write only here.
  void close(const std::string& path) {
    if (::close(std::exchange(fd_, -1)) != 0) io_error("close", path);
  }

 private:
  int fd_;
};

// Removes the file unless it was renamed away.
class TemporaryName {
 public:
  explicit TemporaryName(std::string path) : path_(std::move(path)) {}
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  ~TemporaryName() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void rename_to(const std::string& target) {
    rename_path(path_, target);
    path_.clear();
  }

 private:
  std::string path_;
};

const char* mend(int code) {
  if (code == ENOENT || code == ENOTDIR) return "check the path";
  if (code == EACCES || code == EPERM) return "give this user permission to read it";
  return "name a file that can be opened";
}

size_t require_regular(int fd, const std::string& path) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) io_error("fstat", path);
  if (S_ISDIR(status.st_mode)) user_error("cannot read {}: it is a directory; name a file in it", path);
  if (!S_ISREG(status.st_mode)) user_error("cannot read {}: it is not a regular file; name one", path);
  return static_cast<size_t>(status.st_size);
}

// O_NONBLOCK: opening a pipe must not wait for its writer.
Descriptor open_to_read(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) user_error("cannot read {}: {}; {}", path, std::strerror(errno), mend(errno));
  return file;
}

// Reads at most `size` bytes; 0 at the end.
size_t read_some(int fd, char* to, size_t size, const std::string& path) {
  ssize_t got = 0;
  do got = ::read(fd, to, size);
  while (got < 0 && errno == EINTR);
  if (got < 0) io_error("read", path);
  return static_cast<size_t>(got);
}

constexpr size_t kLargestWrite = size_t{1} << 30;

void write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (put < 0 && errno != EINTR) io_error("write", path);
    if (put > 0) bytes.remove_prefix(static_cast<size_t>(put));
  }
}

void sync_file(int fd, const std::string& path) {
  if (::fsync(fd) != 0) io_error("fsync", path);
}

// A new file beside `path`; `name` is set to its name. O_EXCL: never another writer's file.
Descriptor create_beside(const std::string& path, std::string& name) {
  for (int attempt = 0;; ++attempt) {
    name = fmt::format("{}.{}.{}.tmp", path, ::getpid(), attempt);
    const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return Descriptor(fd);
    if (errno != EEXIST) io_error("open", name);
  }
}

int open_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) io_error("open", path);
  return fd;
}

bool lock_directory(int fd, const std::string& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno != EWOULDBLOCK) io_error("flock", path);
  return false;
}

bool is_at(int fd, const std::string& path) {
  struct stat opened = {};
  struct stat named = {};
  if (::fstat(fd, &opened) != 0) io_error("fstat", path);
  return ::stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

void remove_tree(const std::string& path) {
  std::error_code failure;
  std::filesystem::remove_all(path, failure);
  if (!failure) return;
  errno = failure.value();
  io_error("remove", path);
}

}  // namespace

std::string read_file(const std::string& path) {
  const Descriptor file = open_to_read(path);
  std::string bytes(require_regular(file.get(), path), '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const size_t got = read_some(file.get(), bytes.data() + filled, bytes.size() - filled, path);
    if (got == 0) break;
    filled += got;
  }
  bytes.resize(filled);
  // Files of /proc state the size 0, and a log may have grown.
  std::array<char, 4096> rest;
  while (const size_t got = read_some(file.get(), rest.data(), rest.size(), path)) bytes.append(rest.data(), got);
  return bytes;
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  const ByteSource whole(bytes);
  write_parts_atomic(path, {&whole, 1});
}

void write_parts_atomic(const std::string& path, std::span<const ByteSource> parts) {
  std::string name;
  Descriptor file = create_beside(path, name);
  TemporaryName temporary(name);
  for (const ByteSource& part : parts) {
    part.stream([&](std::span<const std::byte> bytes) {
      write_all(file.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
    });
  }
  sync_file(file.get(), name);
  file.close(name);
  temporary.rename_to(path);
  sync_directory(parent_directory(path));
}

// File systems that cannot sync a directory say EINVAL; nothing is left to do there.
void sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) io_error("open", path);
  if (::fsync(directory.get()) != 0 && errno != EINVAL) io_error("fsync", path);
}

void install_directory(const std::string& from, const std::string& to) {
  if (!std::filesystem::exists(to)) {
    rename_path(from, to);
  } else if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS) io_error("exchange with " + from, to);
    const std::string aside = to + ".swap.tmp";
    rename_path(to, aside);
    rename_path(from, to);
    rename_path(aside, from);
  }
  sync_directory(parent_directory(to));
}

std::string parent_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void make_directories(const std::string& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  if (!failure) return;
  errno = failure.value();
  io_error("mkdir", path);
}

FileReader::FileReader(const std::string& path) : path_(path) {
  Descriptor file = open_to_read(path);
  require_regular(file.get(), path);
  fd_ = file.release();
}

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

size_t FileReader::read(std::span<char> to) { return read_some(fd_, to.data(), to.size(), path_); }

FileWriter::FileWriter(std::string path) : path_(std::move(path)), fd_(create_beside(path_, written_).release()) {}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)), written_(std::move(other.written_)), fd_(std::exchange(other.fd_, -1)) {}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(written_.c_str());
}

void FileWriter::append(std::string_view bytes) { write_all(fd_, bytes, written_); }

void FileWriter::overwrite(size_t offset, std::string_view bytes) {
  const off_t end = ::lseek(fd_, 0, SEEK_CUR);
  if (end < 0 || ::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) io_error("lseek", written_);
  write_all(fd_, bytes, written_);
  if (::lseek(fd_, end, SEEK_SET) < 0) io_error("lseek", written_);
}

void FileWriter::commit() {
  TemporaryName temporary(written_);
  Descriptor file(std::exchange(fd_, -1));
  sync_file(file.get(), written_);
  file.close(written_);
  temporary.rename_to(path_);
}

ScratchDirectory::ScratchDirectory(std::string target) : target_(std::move(target)), path_(target_ + ".tmp") {
  // The directory may be installed, and so be another's, between opening and locking it.
  for (;;) {
    make_directories(path_);
    Descriptor directory(open_directory(path_));
    if (!lock_directory(directory.get(), path_)) {
      user_error("another process is making {}: wait until it has ended, or name another place", target_);
    }
    if (!is_at(directory.get(), path_)) continue;
    fd_ = directory.release();
    break;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path_)) remove_tree(entry.path());
}

// The tree's own failure must not hide the one that is on its way up.
ScratchDirectory::~ScratchDirectory() {
  if (fd_ < 0) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  ::close(fd_);
}

void ScratchDirectory::install() {
  sync_directory(path_);
  // What stands at the target comes back under the scratch name: it is locked too, until it is gone.
  const bool replaces = std::filesystem::exists(target_);
  const Descriptor old(replaces ? open_directory(target_) : -1);
  if (replaces && !lock_directory(old.get(), target_))
    user_error("another process is replacing {}: try again", target_);
  install_directory(path_, target_);
  if (replaces) remove_tree(path_);
  ::close(std::exchange(fd_, -1));
}

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file = open_to_read(path);
  size_ = require_regular(file.get(), path);
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (memory == MAP_FAILED) io_error("mmap", path);
  data_ = static_cast<char*>(memory);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

AppendFile::AppendFile(const std::string& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) io_error("open", path);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AppendFile::append(std::string_view bytes) { write_all(fd_, bytes, path_); }

}  // namespace centavo
