#include "train/checkpoint_files.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/errors.h"
#include "base/files.h"
#include "base/seal.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr int64_t kFormat = 1;
constexpr const char* kManifest = "manifest.json";
constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kUnfinished = ".tmp";
constexpr std::array<const char*, 3> kFiles = {"config.toml", "program.txt", "state.safetensors"};

template <class... Args>
[[noreturn]] void damaged(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
  user_error("checkpoint file {} is damaged: {}; resume from another checkpoint", path,
             fmt::format(format, std::forward<Args>(args)...));
}

std::string hash_of(std::string_view bytes) { return hex64(XXH3_64bits(bytes.data(), bytes.size())); }

std::string directory_name(int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }
std::string checkpoints_of(const std::string& out_dir) { return out_dir + "/checkpoints"; }

// Nothing when `name` is not exactly what directory_name gives.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, failure] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (failure != std::errc() || stop != end || step < 0 || name != directory_name(step)) return std::nullopt;
  return step;
}

std::string render_manifest(const std::string& directory, const CheckpointContents& contents) {
  ordered_json manifest = {{"format", kFormat},
                           {"step", contents.step},
                           {"program", hex64(contents.program_hash)},
                           {"data", hex64(contents.data_hash)}};
  for (const char* name : kFiles) {
    const MappedFile file(directory + "/" + name);
    manifest["files"][name] = {{"size", file.view().size()}, {"xxh3", hash_of(file.view())}};
  }
  return seal(manifest.dump(2) + "\n");
}

void write_files(const std::string& directory, const CheckpointContents& contents) {
  make_directories(directory);
  write_file_atomic(directory + "/config.toml", contents.config);
  write_file_atomic(directory + "/program.txt", contents.program);
  write_safetensors(directory + "/state.safetensors", contents.tensors, {});
  write_file_atomic(directory + "/" + kManifest, render_manifest(directory, contents));
  sync_directory(directory);
}

void remove_tree(const std::string& path) {
  std::error_code failure;
  fs::remove(path + "/" + kManifest, failure);
  if (!failure && fs::exists(path)) sync_directory(path);
  fs::remove_all(path, failure);
  if (!failure) return;
  errno = failure.value();
  io_error("remove", path);
}

struct FileRecord {
  uint64_t size = 0;
  std::string hash;
};

struct Manifest {
  int64_t step = 0;
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  std::map<std::string, FileRecord> files;
};

uint64_t parse_hex(const std::string& text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

Manifest parse_manifest(const std::string& path, const std::string& text) {
  try {
    const ordered_json json = ordered_json::parse(text);
    const int64_t format = json.at("format").get<int64_t>();
    if (format != kFormat) {
      user_error("checkpoint file {} has format {}, this centavo reads {}: use the centavo that wrote it", path, format,
                 kFormat);
    }
    Manifest manifest = {.step = json.at("step").get<int64_t>(),
                         .program_hash = parse_hex(json.at("program").get<std::string>()),
                         .data_hash = parse_hex(json.at("data").get<std::string>()),
                         .files = {}};
    for (const char* name : kFiles) {
      const ordered_json& file = json.at("files").at(name);
      manifest.files[name] = {file.at("size").get<uint64_t>(), file.at("xxh3").get<std::string>()};
    }
    return manifest;
  } catch (const ordered_json::exception& error) {
    damaged(path, "its fields cannot be read ({})", error.what());
  }
}

void verify_file(const std::string& path, const FileRecord& expected) {
  const MappedFile file(path);
  const std::string_view bytes = file.view();
  if (bytes.size() != expected.size) damaged(path, "it has {} bytes instead of {}", bytes.size(), expected.size);
  if (hash_of(bytes) != expected.hash) damaged(path, "its XXH3-64 is {} instead of {}", hash_of(bytes), expected.hash);
}

// Names in `path`; none when it does not exist.
std::vector<std::string> names_in(const std::string& path) {
  std::error_code failure;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(path, failure), end; !failure && entry != end; entry.increment(failure)) {
    names.push_back(entry->path().filename().string());
  }
  if (failure && failure != std::errc::no_such_file_or_directory) {
    errno = failure.value();
    io_error("readdir", path);
  }
  return names;
}

}  // namespace

std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents) {
  CHECK(contents.step >= 0, "step {}", contents.step);
  const std::string target = checkpoints_of(out_dir) + "/" + directory_name(contents.step);
  const std::string unfinished = target + std::string(kUnfinished);
  remove_tree(unfinished);
  try {
    write_files(unfinished, contents);
  } catch (const IoError&) {  // a full disk needs the room
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  sync_directory(out_dir);
  install_directory(unfinished, target);
  remove_tree(unfinished);
  return target;
}

Checkpoint read_checkpoint(const std::string& directory) {
  const std::string path = directory + "/" + kManifest;
  const std::optional<std::string> text = unseal(read_file(path));
  if (!text) damaged(path, "it does not match its own hash");
  const Manifest manifest = parse_manifest(path, *text);
  for (const auto& [name, record] : manifest.files) verify_file(directory + "/" + name, record);
  return {.step = manifest.step,
          .program_hash = manifest.program_hash,
          .data_hash = manifest.data_hash,
          .config = read_file(directory + "/config.toml"),
          .program = read_file(directory + "/program.txt"),
          .state = SafetensorsFile(directory + "/state.safetensors")};
}

// Catches what a damaged checkpoint throws: here, unlike elsewhere, there is another one to take.
std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir) {
  const std::vector<CheckpointPlace> places = list_checkpoints(out_dir);
  std::vector<std::string> damaged;
  for (const CheckpointPlace& place : places) {
    try {
      Checkpoint checkpoint = read_checkpoint(place.directory);
      return NewestCheckpoint{place.directory, std::move(checkpoint), std::move(damaged)};
    } catch (const UserError& error) {
      damaged.emplace_back(error.what());
    }
  }
  if (places.empty()) return std::nullopt;
  throw UserError(damaged.front());
}

std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir) {
  const std::string parent = checkpoints_of(out_dir);
  std::vector<CheckpointPlace> places;
  for (const std::string& name : names_in(parent)) {
    const std::optional<int64_t> step = step_of(name);
    const std::string directory = parent + "/" + name;
    if (step && fs::exists(directory + "/" + kManifest)) places.push_back({*step, directory});
  }
  std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return places;
}

void remove_checkpoints_beyond(const std::string& out_dir, int64_t step) {
  for (const CheckpointPlace& place : list_checkpoints(out_dir)) {
    if (place.step > step) remove_tree(place.directory);
  }
}

void prune_checkpoints(const std::string& out_dir, int64_t keep) {
  CHECK(keep >= 1, "keep {}", keep);
  const std::string parent = checkpoints_of(out_dir);
  std::vector<CheckpointPlace> kept = list_checkpoints(out_dir);
  kept.resize(std::min(kept.size(), static_cast<size_t>(keep)));
  for (const std::string& name : names_in(parent)) {
    const bool ours = step_of(name) || (name.starts_with(kPrefix) && name.ends_with(kUnfinished));
    const std::string directory = parent + "/" + name;
    const bool keeps = std::ranges::count(kept, directory, &CheckpointPlace::directory) > 0;
    if (ours && !keeps) remove_tree(directory);
  }
}

}  // namespace centavo
