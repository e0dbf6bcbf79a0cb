#include "train/export_checkpoint.h"

#include <filesystem>

#include "base/errors.h"
#include "train/run_config.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

struct Place {
  std::string run;
  std::string checkpoint;
};

// RUN/checkpoints/step-N, or RUN.
Place find_checkpoint(const std::string& from) {
  const fs::path path = fs::absolute(from).lexically_normal();
  const fs::path trimmed = path.has_filename() ? path : path.parent_path();
  if (fs::exists(trimmed / "manifest.json") && trimmed.parent_path().filename() == "checkpoints") {
    return {trimmed.parent_path().parent_path().string(), from};
  }
  const std::vector<CheckpointPlace> all = list_checkpoints(from);
  if (all.empty()) user_error("{} is no checkpoint and holds none; name a run's directory or a checkpoint in it", from);
  return {from, all.front().directory};
}

Tokenizer find_tokenizer(const std::string& file, const std::string& run, int64_t vocab_size) {
  const std::string beside = run + "/data/tokenizer.json";
  if (!file.empty()) return Tokenizer::read(file);
  if (fs::exists(beside)) return Tokenizer::read(beside);
  if (vocab_size == kByteVocabulary) return Tokenizer();
  user_error("{} has no data/tokenizer.json; name the tokenizer.json that the model was trained with", run);
}

// The checkpoint's tensors where they lie in its mapped files.
std::vector<TensorParts> tensors_of(const Checkpoint& checkpoint) {
  std::vector<TensorParts> tensors;
  for (const StoredTensor& stored : checkpoint.tensors) {
    tensors.push_back({stored.name, stored.dtype, stored.shape, {}});
    for (const StoredPiece& piece : stored.pieces) tensors.back().parts.emplace_back(piece.bytes);
  }
  return tensors;
}

}  // namespace

ExportedTokenizer exported(const Tokenizer& tokenizer) {
  ExportedTokenizer result{tokenizer.json(), std::nullopt};
  if (tokenizer.end_of_text()) result.end_of_text = {*tokenizer.end_of_text(), std::string(kEndOfText)};
  return result;
}

void export_model(const Checkpoint& checkpoint, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory) {
  export_model(tensors_of(checkpoint), model, tokenizer, directory);
}

ExportedCheckpoint export_checkpoint(const std::string& from, const std::string& tokenizer,
                                     const std::string& directory) {
  const Place place = find_checkpoint(from);
  const Checkpoint checkpoint = read_checkpoint(place.checkpoint);
  const RunConfig config = parse_run_config_text(checkpoint.config, place.checkpoint + "/config.toml", {});
  const Tokenizer words = find_tokenizer(tokenizer, place.run, config.model.vocab_size);
  if (words.vocab_size() > config.model.vocab_size) {
    user_error("the tokenizer has {} tokens and the model of {} has {}; name the one that it was trained with",
               words.vocab_size(), place.checkpoint, config.model.vocab_size);
  }
  export_model(checkpoint, config.model, exported(words), directory);
  return {place.checkpoint, checkpoint.step};
}

}  // namespace centavo
