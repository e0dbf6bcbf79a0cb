#include "machine/cuda/tuning_file.h"

#include <cublasLt.h>

#include <algorithm>
#include <cctype>

#include "base/files.h"
#include "base/json.h"

namespace centavo {
namespace {

constexpr int kWay = 3;  // counted up when choices are made another way

// NVIDIA H200 -> nvidia-h200
std::string file_name(std::string text) {
  for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? static_cast<char>(std::tolower(c)) : '-';
  return text;
}

}  // namespace

TuningFile::TuningFile(const std::string& directory, const Gpu& gpu) {
  if (directory.empty()) return;
  path_ = fmt::format("{}/{}-sm{}-cublaslt{}-way{}.json", directory, file_name(gpu.name), gpu.traits.architecture,
                      cublasLtGetVersion(), kWay);
}

void TuningFile::load(TuningTable& table) const {
  if (path_.empty()) return;
  try {
    const auto json = parse_json(read_file(path_));
    for (const auto& [key, choice] : json.items()) table.set(key, choice.get<std::string>());
    table.mark_saved();
  } catch (const std::exception&) {
    // Missing or damaged: timed again.
  }
}

void TuningFile::save(const TuningTable& table) const {
  if (path_.empty()) return;
  try {
    make_directories(path_.substr(0, path_.rfind('/')));
    write_file_atomic(path_, json_text(nlohmann::json(table.entries()), 1) + "\n");
  } catch (const IoError&) {
    // The next run times again.
  }
}

}  // namespace centavo
