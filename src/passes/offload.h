// Tensors that wait in host memory.
//
// Most of what a training step holds is idle most of the time. An activation of layer 3 is made in the forward and next
// looked at when the backward has come back to layer 3; a moment of the optimizer is touched once a step. Host memory
// is larger and cheaper than device memory, and the link between them moves data while the device computes. So:
//
//   activations   After its last use in the forward a tensor is copied to `NAME.host`, and before its first use in the
//                 backward copied back. Its device buffer lives twice, shortly; between the two lives its memory
//                 belongs to other layers.
//   states        Moments and master weights move to home `host` for good, under the same names. In `update` each is
//                 fetched into `NAME.device` right before the op that uses it, which works on that copy in place, and
//                 is written back right after it.
//
// This pass puts each copy beside its use, in line with the ops, so that the text stays valid by itself. `schedule`
// puts copies on their lane, issues fetches earlier, so that the state of the next unit arrives while this one is
// updated (double buffering), and adds the edges. Copies move bits, hence no result changes.
//
// Which activations: whole tensors (neither windows nor cut into windows) that an op of a layer writes in the forward
// and the backward only reads. A tensor that the backward computes again (recompute) is none of them.
// Which states: all that `update` alone uses, each named whole.
//
// Runs on sections `micro` and `update`, after `recompute` and before `shard`. Sources: Rajbhandari et al., "ZeRO-
// Infinity", 2021 (activations, overlap); Ren et al., "ZeRO-Offload", 2021 (states in host memory).
#pragma once

#include <set>

#include "program/program.h"

namespace centavo {

enum class Offloaded : uint8_t { activations, states };

struct OffloadChoice {
  std::set<Offloaded> what;
  // Smaller tensors stay: a transfer takes some microseconds however few bytes it moves.
  int64_t smallest_bytes = 4096;
};

Program offload(Program program, const OffloadChoice& choice);

}  // namespace centavo
