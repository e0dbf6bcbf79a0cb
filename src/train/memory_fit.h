// Does the planned run fit into the memory and onto the disk there is?
//
// Needed are the arenas of the training program, of the validation program and of those that write samples; what
// libraries take beside them is covered by a reserve of 64 MiB.
#pragma once

#include <cstdint>
#include <string>

#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

// Throws OutOfMemory when the run does not fit into `available_bytes`: what is needed and what there is, the regions
// of `training`, and the two nearest plans that fit: the same tokens per step with smaller micro-batches or with
// activations recomputed, at last with everything offloaded and fewer logits at a time; or that none fits. Where other
// processes hold the memory of a GPU that it lacks, DeviceError names them.
void require_memory(const OpTable& ops, const RunConfig& config, const Worker& worker, const Program& training,
                    int64_t available_bytes);

// Throws UserError when the host arenas of `training`, one a rank as a file in `out`, do not fit into the bytes that
// are free on the disk of `out`.
void require_disk(const Program& training, int64_t ranks, const std::string& out, int64_t free_bytes);
// The same for what a worker offloads, wherever its device lets it wait: a file in `out`, or for a GPU pinned memory of
// the host, shared by the ranks.
void require_room_offloaded(const Worker& worker, const Program& training, int64_t ranks, const std::string& out);
// Free on the disk where `out` is or will be made.
int64_t free_bytes_for(const std::string& out);

}  // namespace centavo
