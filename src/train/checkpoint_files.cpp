#include "train/checkpoint_files.h"

#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/seal.h"
#include "machine/comm/self.h"
#include "train/checkpoint_manifest.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kConfig = "config.toml";
constexpr const char* kProgram = "program.txt";
constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kUnfinished = ".tmp";

uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string directory_name(int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }
std::string checkpoints_of(const std::string& out_dir) { return out_dir + "/checkpoints"; }
std::string directory_of(const std::string& out_dir, int64_t step) {
  return checkpoints_of(out_dir) + "/" + directory_name(step);
}

// Nothing when `name` is not exactly what directory_name gives.
std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, failure] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (failure != std::errc() || stop != end || step < 0 || name != directory_name(step)) return std::nullopt;
  return step;
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

// --- writing

// As it can be read back.
FileRecord record_of(const std::string& path) {
  const MappedFile file(path);
  return {static_cast<int64_t>(file.view().size()), hash_of(file.view())};
}

std::string as_text(const FileRecord& record) { return fmt::format("{} {}", record.size, hex64(record.hash)); }

FileRecord record_of_text(const std::string& text) {
  const size_t space = text.find(' ');
  FileRecord record;
  const auto size = std::from_chars(text.data(), text.data() + std::min(space, text.size()), record.size);
  const std::optional<uint64_t> hash = space < text.size() ? parse_hex64(text.substr(space + 1)) : std::nullopt;
  if (size.ec != std::errc() || !hash) throw RankError(fmt::format("a rank told '{}' of its file", text));
  record.hash = *hash;
  return record;
}

// Every rank its own file, all at once; what became of them, by rank.
std::vector<std::string> write_states(const std::string& directory, std::span<const TensorPieces> tensors,
                                      std::span<const StatePart> state, Communicator& communicator) {
  return all_or_none(communicator, [&] {
    const std::string path = directory + "/" + state_file(communicator.rank(), communicator.ranks());
    write_safetensors(path, pieces_of(communicator.rank(), tensors, state), {});
    return as_text(record_of(path));
  });
}

// What rank 0 writes when all states are there.
void write_rest(const std::string& directory, const CheckpointContents& contents, std::vector<TensorPieces> tensors,
                const std::vector<std::string>& states) {
  write_file_atomic(directory + "/" + kConfig, contents.config);
  write_file_atomic(directory + "/" + kProgram, contents.program);
  const auto writers = static_cast<int64_t>(states.size());
  Manifest manifest = {.step = contents.step,
                       .program_hash = contents.program_hash,
                       .data_hash = contents.data_hash,
                       .writers = writers,
                       .files = {},
                       .tensors = std::move(tensors)};
  for (const char* name : {kConfig, kProgram}) manifest.files[name] = record_of(directory + "/" + name);
  for (int64_t writer = 0; writer < writers; ++writer) {
    manifest.files[state_file(writer, writers)] = record_of_text(states[static_cast<size_t>(writer)]);
  }
  write_file_atomic(directory + "/" + kManifest, print_manifest(manifest));
  sync_directory(directory);
}

// Rank 0 makes the room, all write, rank 0 completes.
void write_files(const std::string& directory, const CheckpointContents& contents, Communicator& communicator) {
  const std::vector<TensorPieces> tensors = share_out(communicator, contents.state);
  on_rank_zero(communicator, [&] {
    remove_tree(directory);
    make_directories(directory);
    return std::string();
  });
  const std::vector<std::string> states = write_states(directory, tensors, contents.state, communicator);
  on_rank_zero(communicator, [&] {
    write_rest(directory, contents, tensors, states);
    return std::string();
  });
}

// --- reading

void verify_file(const std::string& path, const FileRecord& expected) {
  const FileRecord found = record_of(path);
  if (found.size != expected.size) {
    damaged_checkpoint_file(path, fmt::format("it has {} bytes instead of {}", found.size, expected.size));
  }
  if (found.hash != expected.hash) {
    damaged_checkpoint_file(path,
                            fmt::format("its XXH3-64 is {} instead of {}", hex64(found.hash), hex64(expected.hash)));
  }
}

// Points the pieces at their bytes; `used` counts those of each file.
StoredTensor locate(const std::string& directory, const TensorPieces& tensor, const Checkpoint& checkpoint,
                    std::vector<size_t>& used) {
  StoredTensor stored = {tensor.name, tensor.dtype, tensor.shape, {}};
  for (const Piece& piece : tensor.pieces) {
    const auto writer = static_cast<size_t>(piece.writer);
    const std::string name = stored_name(tensor, piece);
    const TensorView* view = checkpoint.files[writer].find(name);
    if (view == nullptr || view->dtype != tensor.dtype || view->shape != stored_shape(tensor, piece)) {
      const std::string path =
          directory + "/" + state_file(piece.writer, static_cast<int64_t>(checkpoint.files.size()));
      damaged_checkpoint_file(path, fmt::format("it does not hold {} as the manifest says", name));
    }
    ++used[writer];
    stored.pieces.push_back({piece.begin, piece.end, view->bytes});
  }
  return stored;
}

void open_states(const std::string& directory, const Manifest& manifest, Checkpoint& checkpoint) {
  for (int64_t writer = 0; writer < manifest.writers; ++writer) {
    checkpoint.files.emplace_back(directory + "/" + state_file(writer, manifest.writers));
  }
  std::vector<size_t> used(checkpoint.files.size());
  for (const TensorPieces& tensor : manifest.tensors) {
    checkpoint.tensors.push_back(locate(directory, tensor, checkpoint, used));
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i] == checkpoint.files[i].tensors().size()) continue;
    damaged_checkpoint_file(directory + "/" + state_file(static_cast<int64_t>(i), manifest.writers),
                            "it holds more tensors than the manifest says");
  }
  std::ranges::sort(checkpoint.tensors, {}, &StoredTensor::name);
}

// Verifies this rank's share of the files, and opens all.
Checkpoint read_share(const std::string& directory, const Manifest& manifest, const Communicator& communicator) {
  const std::vector<std::string> names = checkpoint_file_names(manifest.writers);
  for (auto i = static_cast<size_t>(communicator.rank()); i < names.size();
       i += static_cast<size_t>(communicator.ranks())) {
    verify_file(directory + "/" + names[i], manifest.files.at(names[i]));
  }
  Checkpoint checkpoint = {.step = manifest.step,
                           .program_hash = manifest.program_hash,
                           .data_hash = manifest.data_hash,
                           .config = read_file(directory + "/" + kConfig),
                           .program = read_file(directory + "/" + kProgram),
                           .tensors = {},
                           .files = {}};
  open_states(directory, manifest, checkpoint);
  return checkpoint;
}

void require_same(const std::string& path, const std::vector<std::string>& manifests) {
  for (size_t rank = 1; rank < manifests.size(); ++rank) {
    if (manifests[rank] == manifests[0]) continue;
    // No damage, of which another checkpoint could make up.
    throw RankError(
        fmt::format("rank {} sees another {} than rank 0; all ranks must see the same output directory", rank, path));
  }
}

}  // namespace

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors, name, {}, &StoredTensor::name);
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents,
                             Communicator& communicator) {
  CHECK(contents.step >= 0, "step {}", contents.step);
  std::string target = directory_of(out_dir, contents.step);
  const std::string unfinished = target + std::string(kUnfinished);
  try {
    write_files(unfinished, contents, communicator);
  } catch (const std::runtime_error&) {  // a full disk needs the room
    std::error_code ignored;
    if (communicator.rank() == 0) fs::remove_all(unfinished, ignored);
    throw;
  }
  on_rank_zero(communicator, [&] {
    sync_directory(out_dir);
    install_directory(unfinished, target);
    remove_tree(unfinished);
    return std::string();
  });
  return target;
}

Checkpoint read_checkpoint(const std::string& directory, Communicator& communicator) {
  const std::string path = directory + "/" + kManifest;
  std::optional<Checkpoint> checkpoint;
  const std::vector<std::string> manifests = all_or_none(communicator, [&] {
    const std::string text = read_file(path);
    checkpoint = read_share(directory, parse_manifest(path, text), communicator);
    return hex64(hash_of(text));
  });
  require_same(path, manifests);
  return std::move(*checkpoint);
}

// Catches what a damaged checkpoint throws: here, unlike elsewhere, there is another one to take.
std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir, Communicator& communicator) {
  const std::vector<CheckpointPlace> places = list_checkpoints(out_dir, communicator);
  std::vector<std::string> damaged;
  for (const CheckpointPlace& place : places) {
    try {
      Checkpoint checkpoint = read_checkpoint(place.directory, communicator);
      return NewestCheckpoint{place.directory, std::move(checkpoint), std::move(damaged)};
    } catch (const UserError& error) {
      damaged.emplace_back(error.what());
    }
  }
  if (places.empty()) return std::nullopt;
  throw UserError(damaged.front());
}

std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir, Communicator& communicator) {
  const std::string names = on_rank_zero(communicator, [&] {
    std::string text;
    for (const CheckpointPlace& place : list_checkpoints(out_dir)) text += directory_name(place.step) + "\n";
    return text;
  });
  std::vector<CheckpointPlace> places;
  for (size_t at = 0, end = 0; (end = names.find('\n', at)) != names.npos; at = end + 1) {
    const std::optional<int64_t> step = step_of(names.substr(at, end - at));
    CHECK(step, "rank 0 lists {}", names);
    places.push_back({*step, directory_of(out_dir, *step)});
  }
  return places;
}

void remove_checkpoints_beyond(const std::string& out_dir, int64_t step, Communicator& communicator) {
  on_rank_zero(communicator, [&] {
    for (const CheckpointPlace& place : list_checkpoints(out_dir)) {
      if (place.step > step) remove_tree(place.directory);
    }
    return std::string();
  });
}

void prune_checkpoints(const std::string& out_dir, int64_t keep, Communicator& communicator) {
  CHECK(keep >= 1, "keep {}", keep);
  on_rank_zero(communicator, [&] {
    const std::string parent = checkpoints_of(out_dir);
    std::vector<CheckpointPlace> kept = list_checkpoints(out_dir);
    kept.resize(std::min(kept.size(), static_cast<size_t>(keep)));
    for (const std::string& name : names_in(parent)) {
      const bool ours = step_of(name) || (name.starts_with(kPrefix) && name.ends_with(kUnfinished));
      const std::string directory = fmt::format("{}/{}", parent, name);
      const bool keeps = std::ranges::count(kept, directory, &CheckpointPlace::directory) > 0;
      if (ours && !keeps) remove_tree(directory);
    }
    return std::string();
  });
}

std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents) {
  SelfCommunicator alone;
  return write_checkpoint(out_dir, contents, alone);
}

Checkpoint read_checkpoint(const std::string& directory) {
  SelfCommunicator alone;
  return read_checkpoint(directory, alone);
}

std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir) {
  SelfCommunicator alone;
  return read_newest_checkpoint(out_dir, alone);
}

void remove_checkpoints_beyond(const std::string& out_dir, int64_t step) {
  SelfCommunicator alone;
  remove_checkpoints_beyond(out_dir, step, alone);
}

std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir) {
  const std::string parent = checkpoints_of(out_dir);
  std::vector<CheckpointPlace> places;
  for (const std::string& name : names_in(parent)) {
    const std::optional<int64_t> step = step_of(name);
    const std::string directory = fmt::format("{}/{}", parent, name);
    if (step && fs::exists(directory + "/" + kManifest)) places.push_back({*step, directory});
  }
  std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return places;
}

void prune_checkpoints(const std::string& out_dir, int64_t keep) {
  SelfCommunicator alone;
  prune_checkpoints(out_dir, keep, alone);
}

bool is_checkpoint(const std::string& directory) {
  return fs::exists(directory + "/" + kProgram) && fs::exists(directory + "/" + kConfig);
}

}  // namespace centavo
