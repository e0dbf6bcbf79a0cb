#include "train/out_traces.h"

#include <system_error>

#include "train/rank_status.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

std::optional<fs::file_time_type> written_at(const std::string& path) {
  std::error_code failure;
  const fs::file_time_type time = fs::last_write_time(path, failure);
  return failure ? std::nullopt : std::optional(time);
}

bool is_there(const fs::path& path) {
  std::error_code failure;
  return fs::exists(fs::symlink_status(path, failure));
}

std::vector<fs::path> missing_directories(const fs::path& deepest) {
  std::vector<fs::path> missing;
  for (fs::path p = deepest; !p.empty() && !is_there(p); p = p.parent_path()) missing.push_back(p);
  return missing;
}

std::set<std::string> pages_in(const fs::path& directory) {
  std::set<std::string> pages;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(directory, failure)) pages.insert(entry.path().string());
  return pages;
}

}  // namespace

OutTraces::OutTraces(std::string out)
    : out_(std::move(out)),
      missing_(missing_directories(fs::path(rank_status_path(out_, 0)).parent_path())),
      pages_(pages_in(fs::path(rank_status_path(out_, 0)).parent_path())),
      config_written_(written_at(out_ + "/config.toml")) {}

bool OutTraces::has_begun() const { return written_at(out_ + "/config.toml") != config_written_; }

void OutTraces::take_back(std::span<const int64_t> ranks) const {
  if (has_begun()) return;
  std::error_code passed_over;
  for (const int64_t rank : ranks) {
    const std::string page = rank_status_path(out_, rank);
    if (!pages_.contains(page)) fs::remove(page, passed_over);
  }
  for (const fs::path& directory : missing_) fs::remove(directory, passed_over);  // only when it is empty
}

}  // namespace centavo
