// Checkpoints on disk.
//
//   OUT/checkpoints/step-00000100/   state.safetensors   the persistent buffers
//                                    config.toml         the resolved run configuration
//                                    program.txt         the program's canonical text
//                                    manifest.json       format, step, program and data hash, and of every other file
//                                                        the size and XXH3-64; the last field, "self", is the XXH3-64
//                                                        of the manifest without that field
//
// A checkpoint appears whole or not at all: it is written to step-N.tmp, every file and the directory are synced, and
// the directory is renamed. Directories of other names or without a manifest are leftovers and never listed. One writer
// per OUT.
//
// Errors: anything damaged or missing is a UserError that names the file and the defect; a failed system call is an
// IoError. The hashes find accidents, not forgeries.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/hf/safetensors.h"

namespace centavo {

struct CheckpointContents {
  int64_t step = 0;  // steps done
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  std::string config;
  std::string program;
  std::span<const TensorView> tensors;
};

struct Checkpoint {
  int64_t step = 0;
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  std::string config;
  std::string program;
  SafetensorsFile state;
};

struct CheckpointPlace {
  int64_t step = 0;
  std::string directory;
  bool operator==(const CheckpointPlace&) const = default;
};

// Replaces a checkpoint of the same step. Returns the checkpoint's directory. When it cannot be written (IoError),
// nothing of it is left.
std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents);

// Verifies every file against the manifest before anything is used.
Checkpoint read_checkpoint(const std::string& directory);

// The newest checkpoint that is whole. `damaged` says, a sentence each, what is wrong with newer ones; without a whole
// one the error of the newest is thrown. Nothing when there is no checkpoint at all.
struct NewestCheckpoint {
  std::string directory;
  Checkpoint checkpoint;
  std::vector<std::string> damaged;
};
std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir);

// Removes the checkpoints beyond `step`: damaged ones, when a run goes on from the one before.
void remove_checkpoints_beyond(const std::string& out_dir, int64_t step);

// Newest first; empty when there are none or `out_dir` does not exist.
std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir);

// Removes all but the newest `keep` (at least 1), and the leftovers of interrupted writes and removals. The manifest
// goes first, so that an interruption leaves nothing that could be taken for a checkpoint.
void prune_checkpoints(const std::string& out_dir, int64_t keep);

}  // namespace centavo
