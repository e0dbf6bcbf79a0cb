#include "cli/rank_words.h"

#include <cstdio>

namespace centavo {
namespace {

constexpr size_t kFewestDashes = 70;
constexpr int kLongestBanner = 60;  // lines; a rank that prints dashes must not be silenced by them for long

constexpr std::string_view kOwn = "centavo: ";

// What follows "centavo: " and "rank 1 on host h: ".
std::string without_rank(const std::string& line) {
  const std::string text = line.substr(kOwn.size());
  const size_t end = text.find(": ");
  const bool named = text.starts_with("rank ") && text.find(" on host ") < end && end != text.npos;
  return named ? text.substr(end + 2) : text;
}

bool is_border(const std::string& line) {
  return line.size() >= kFewestDashes && line.find_first_not_of('-') == line.npos;
}

// "[host:123] 2 more processes have sent help message …", "[host:123] Set MCA parameter …", "[host:123] [[1,0],0]
// ORTE_ERROR_LOG: …"; of a rank whose peer is gone: "[host:123] Read -1, expected 4096, errno = 3"
bool is_remark(const std::string& line) {
  const auto has = [&](const char* text) { return line.find(text) != line.npos; };
  return line.starts_with('[') && (has(" sent help message ") || has("orte_base_help_aggregate") ||
                                   has("ORTE_ERROR_LOG") || has("] Read -1, expected "));
}

std::optional<DeathNotice> notice_in(const std::string& line) {
  long rank = 0;
  int signal = 0;
  const char* format = "mpirun noticed that process rank %ld with PID %*d on node %*s exited on signal %d";
  if (std::sscanf(line.c_str(), format, &rank, &signal) != 2) return {};
  return DeathNotice{rank, signal};
}

}  // namespace

std::string RankWords::take(std::string_view piece) {
  unended_ += piece;
  std::string out;
  size_t begin = 0;
  for (size_t end = unended_.find('\n'); end != unended_.npos; end = unended_.find('\n', begin)) {
    out += line(unended_.substr(begin, end - begin));
    begin = end + 1;
  }
  unended_.erase(0, begin);
  return out;
}

std::string RankWords::rest() {
  std::string out = unended_.empty() ? "" : line(unended_);
  unended_.clear();
  return out;
}

std::string RankWords::line(const std::string& line) {
  if (is_border(line) || in_banner_) return banner_line(line);
  if (is_remark(line)) {
    if (first_remark_.empty()) first_remark_ = line;
    return {};
  }
  if (line.starts_with(kOwn) && !said_.insert(without_rank(line)).second) return {};
  return line + "\n";
}

std::string RankWords::banner_line(const std::string& line) {
  if (is_border(line)) {
    if (in_banner_ && banner_.empty()) banner_ = held_;
    in_banner_ = !in_banner_;
    held_.clear();
    banner_lines_ = 0;
    return {};
  }
  if (const auto notice = notice_in(line); notice && !notice_) notice_ = notice;
  if (!line.empty()) held_ += (held_.empty() ? "" : " ") + line;
  in_banner_ = ++banner_lines_ < kLongestBanner;
  return {};
}

}  // namespace centavo
