// Files as whole pieces: read, replaced atomically, mapped. The one place that opens files on the host.
//
// A path the user named wrongly (missing, a directory, not readable) is a UserError; a system call that fails on a
// good path is an IoError with the call, the path and errno's text.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_source.h"

namespace centavo {

// The contents of a regular file, up to its end as seen while reading.
std::string read_file(const std::string& path);

// Replaces `path` by `bytes`: a reader sees the old contents or the new, also after a crash or a loss of power. The
// bytes go to a new file beside `path`, which is synced, renamed over it, and the directory synced. When a step before
// the rename fails, `path` is unchanged and the new file is removed. A symbolic link at `path` is replaced, not
// followed; the new file has the default permissions.
void write_file_atomic(const std::string& path, std::string_view bytes);
// The same for the parts end to end, without joining them in memory.
void write_parts_atomic(const std::string& path, std::span<const ByteSource> parts);

// Makes the names in `path` last: entries made, renamed or removed before the call survive a crash after it.
void sync_directory(const std::string& path);

// Puts the directory `from` at `to` and makes that last. What was at `to` is at `from` afterwards; the two swap in one
// step where the file system can, else a crash may leave the old one under the name `to`.swap.tmp.
void install_directory(const std::string& from, const std::string& to);

// The directory that holds `path`; "." for a bare name.
std::string parent_directory(const std::string& path);

// Makes `path` and every missing directory above it; nothing happens when it exists.
void make_directories(const std::string& path);

// The bytes of a regular file, from the first to the last, as they are asked for.
class FileReader {
 public:
  explicit FileReader(const std::string& path);
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&&) = delete;
  ~FileReader();

  // Fills the beginning of `to` and returns how much; 0 at the end.
  size_t read(std::span<char> to);

 private:
  std::string path_;
  int fd_ = -1;
};

// A new file, written piece by piece beside `path` and put there by commit(). Without a commit nothing is left.
class FileWriter {
 public:
  explicit FileWriter(std::string path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&&) = delete;
  ~FileWriter();

  void append(std::string_view bytes);
  // Replaces bytes that were appended before.
  void overwrite(size_t offset, std::string_view bytes);
  // Syncs and renames. The directory is not synced: see sync_directory.
  void commit();

 private:
  std::string path_;
  std::string written_;  // the name while it is written
  int fd_ = -1;
};

// A directory that is filled beside its place `target` and put there whole by install(). It is called `target`.tmp, is
// locked against other processes (UserError when one holds it), and starts out empty. Without an install nothing is
// left but after a crash, and the next ScratchDirectory of that target takes the rest over.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(std::string target);
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();

  const std::string& path() const { return path_; }
  // Syncs the directory and its names; what was at `target` is removed.
  void install();

 private:
  std::string target_;
  std::string path_;
  int fd_ = -1;
};

// A regular file in memory, read-only, paged in as it is touched. The view dies with the object and survives moves of
// it. Hazard: shortening the file while it is mapped makes reads past its new end fatal.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view view() const { return {data_, size_}; }

 private:
  char* data_ = nullptr;  // null when the file is empty
  size_t size_ = 0;
};

// An existing file that grows at its end. One append is one write() unless the system takes it in parts (a full disk,
// a signal), so a crash tears at most the last one. Nothing is synced.
class AppendFile {
 public:
  explicit AppendFile(const std::string& path);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;
  ~AppendFile();

  void append(std::string_view bytes);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace centavo
