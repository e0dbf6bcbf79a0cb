// Checkpoints on disk: logical tensors, whichever ranks wrote them and whichever read them.
//
//   OUT/checkpoints/step-00000100/   state-00000-of-00002.safetensors   what rank 0 wrote of the tensors
//                                    state-00001-of-00002.safetensors   what rank 1 wrote: checkpoint_pieces.h
//                                    config.toml                        the resolved run configuration
//                                    program.txt                        the canonical text of rank 0's program
//                                    manifest.json                      what is where: checkpoint_manifest.h
//
// With one rank the one state file holds every tensor whole, under its own name.
//
// A checkpoint appears whole or not at all: it is written to step-N.tmp, every file and the directory are synced, and
// the directory is renamed. Directories of other names or without a manifest are leftovers and never listed. One run
// per OUT, which all of its ranks see.
//
// Functions with a communicator are called by all its ranks, and what one of them does not manage none of them has: all
// throw the same error (base/between_ranks.h). Rank 0 alone lists, makes, renames and removes directories.
//
// Errors: anything damaged or missing is a UserError that names the file and the defect; a failed system call is an
// IoError. The hashes find accidents, not forgeries.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/communicator.h"
#include "model/hf/safetensors.h"
#include "train/checkpoint_pieces.h"

namespace centavo {

struct CheckpointContents {
  int64_t step = 0;  // steps done
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  std::string config;
  std::string program;
  std::span<const StatePart> state;  // what this rank holds; the other fields are rank 0's
};

// Elements [begin, end) of a tensor in a mapped file.
struct StoredPiece {
  int64_t begin = 0;
  int64_t end = 0;
  std::span<const std::byte> bytes;
};

struct StoredTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<StoredPiece> pieces;  // ascending; they tile the tensor
};

struct Checkpoint {
  int64_t step = 0;
  uint64_t program_hash = 0;
  uint64_t data_hash = 0;
  std::string config;
  std::string program;
  std::vector<StoredTensor> tensors;   // by name
  std::vector<SafetensorsFile> files;  // that hold their bytes

  const StoredTensor* find(std::string_view name) const;  // null when absent
};

struct CheckpointPlace {
  int64_t step = 0;
  std::string directory;
  bool operator==(const CheckpointPlace&) const = default;
};

// Replaces a checkpoint of the same step. Returns the checkpoint's directory. When some rank cannot write (IoError),
// nothing of it is left.
std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents,
                             Communicator& communicator);

// Verifies every file against the manifest before anything is used; ranks share the work.
Checkpoint read_checkpoint(const std::string& directory, Communicator& communicator);

// The newest checkpoint that is whole. `damaged` says, a sentence each, what is wrong with newer ones; without a whole
// one the error of the newest is thrown. Nothing when there is no checkpoint at all.
struct NewestCheckpoint {
  std::string directory;
  Checkpoint checkpoint;
  std::vector<std::string> damaged;
};
std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir, Communicator& communicator);

// Removes the checkpoints beyond `step`: damaged ones, when a run goes on from the one before.
void remove_checkpoints_beyond(const std::string& out_dir, int64_t step, Communicator& communicator);

// Newest first; empty when there are none or `out_dir` does not exist.
std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir, Communicator& communicator);

// Removes all but the newest `keep` (at least 1), and the leftovers of interrupted writes and removals. The manifest
// goes first, so that an interruption leaves nothing that could be taken for a checkpoint.
void prune_checkpoints(const std::string& out_dir, int64_t keep, Communicator& communicator);

// The same for a process that is alone.
std::string write_checkpoint(const std::string& out_dir, const CheckpointContents& contents);
Checkpoint read_checkpoint(const std::string& directory);
std::optional<NewestCheckpoint> read_newest_checkpoint(const std::string& out_dir);
void remove_checkpoints_beyond(const std::string& out_dir, int64_t step);
std::vector<CheckpointPlace> list_checkpoints(const std::string& out_dir);
void prune_checkpoints(const std::string& out_dir, int64_t keep);

// Does it look like a checkpoint, whole or not?
bool is_checkpoint(const std::string& directory);

}  // namespace centavo
