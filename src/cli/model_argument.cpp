#include "cli/model_argument.h"

#include <filesystem>

#include "base/errors.h"
#include "cli/shell_words.h"
#include "model/hf/family.h"
#include "train/checkpoint_files.h"
#include "train/run_config.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

// Neither its end nor an export gives such a model a directory.
void refuse_unexportable(const std::string& directory) {
  const RunConfig config = parse_run_config(directory + "/config.toml", {});
  const std::string why = why_not_exportable(config.model);
  if (why.empty()) return;
  user_error("{} has a model that no export writes, and generate and eval read exported ones alone: {}", directory,
             why);
}

[[noreturn]] void refuse_unfinished(const std::string& run_dir) {
  refuse_unexportable(run_dir);
  const std::string resume = shell_words({"centavo", "resume", run_dir});
  if (list_checkpoints(run_dir).empty()) {
    user_error("{} is a run that was stopped before its first checkpoint; start it again with: {}", run_dir, resume);
  }
  user_error(
      "{} is a run that has not ended and so has no model/; end it with: {}, or write the model of its newest "
      "checkpoint with: {}",
      run_dir, resume, shell_words({"centavo", "export", run_dir, "DIR"}));
}

[[noreturn]] void refuse_checkpoint(const std::string& directory) {
  refuse_unexportable(directory);
  user_error("{} is a checkpoint and holds no model; write its model with: {}", directory,
             shell_words({"centavo", "export", directory, "DIR"}));
}

}  // namespace

std::string model_path(const std::string& directory) {
  if (fs::exists(directory + "/config.json")) return directory;
  std::string inside = directory + "/model";
  if (fs::exists(inside + "/config.json")) return inside;
  if (is_checkpoint(directory)) refuse_checkpoint(directory);
  if (fs::exists(directory + "/config.toml")) refuse_unfinished(directory);
  return directory;
}

}  // namespace centavo
