#include "data/sources.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "base/errors.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

bool drop_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

Source source_of(const std::string& path, int64_t size_bytes) {
  Source source = {.path = path, .size_bytes = size_bytes};
  std::string_view name = path;
  if (drop_suffix(name, ".gz")) source.compression = Compression::gzip;
  if (drop_suffix(name, ".zst")) source.compression = Compression::zstd;
  if (name.ends_with(".jsonl")) source.format = TextFormat::jsonl;
  return source;
}

[[noreturn]] void cannot_read(const std::string& path, int code) {
  user_error("cannot read {}: {}; check the path and its permissions", path, std::strerror(code));
}

class Finder {
 public:
  void visit(const std::string& path) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) cannot_read(path, errno);
    if (!seen_.emplace(status.st_dev, status.st_ino).second) return;
    if (S_ISDIR(status.st_mode)) return visit_directory(path);
    if (!S_ISREG(status.st_mode))
      user_error("cannot read {}: it is neither a file nor a directory; move it away", path);
    if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) cannot_read(path, errno);
    sources_.push_back(source_of(path, status.st_size));
  }

  std::vector<Source> sources() && { return std::move(sources_); }

 private:
  void visit_directory(const std::string& path) {
    std::error_code failure;
    std::vector<std::string> entries;
    for (fs::directory_iterator entry(path, failure), end; !failure && entry != end; entry.increment(failure)) {
      if (!entry->path().filename().string().starts_with('.')) entries.push_back(entry->path().string());
    }
    if (failure) cannot_read(path, failure.value());
    std::sort(entries.begin(), entries.end());
    for (const std::string& entry : entries) visit(entry);
  }

  std::vector<Source> sources_;
  std::set<std::pair<dev_t, ino_t>> seen_;
};

}  // namespace

std::vector<Source> find_sources(const std::vector<std::string>& paths) {
  Finder finder;
  for (const std::string& path : paths) finder.visit(path);
  std::vector<Source> sources = std::move(finder).sources();
  if (sources.empty())
    user_error("there is no file to read in {}; name a file or a directory that holds some", fmt::join(paths, " "));
  return sources;
}

}  // namespace centavo
