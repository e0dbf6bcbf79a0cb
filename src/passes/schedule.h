// What travels does so while the device computes, and no more memory is held for it than planned.
//
// A gather that is started when its first reader is due stalls that reader; one that is started too early holds memory
// that others need. This pass decides three things for every section.
//
// Lanes. `all_gather` runs on lane gather, other collectives on lane reduce, copies between homes on lane copy.
//
// Prefetch. Gathers whose result is dropped again, and fetches (copies from host to device), are issued earlier. Those
// of a lane with the same first reader form a group; groups are counted in the order of these readers c_0, c_1, … Group
// k is issued right before c_{k - prefetch}, the first `prefetch` groups at the beginning of their stage; never above
// an op that it conflicts with, such as the producer of its input or the last reader of what its output held before.
// With distance 0 a group is issued right before its own reader.
//
// Release. An issue order does not bound memory: nothing would stop a fast lane from running ahead. Hence
//   * group k waits for the last uses of what group k - prefetch - 1 brought: at most prefetch + 1 groups are held;
//   * the first op that writes what reduction k sends waits for reduction k - 2: two gradient buffers alternate;
//   * likewise the first op that writes what layer l copies to the host waits for the copies of layer l - 2, counting
//     layers that copy. Between the two, a layer is computed while the one before it travels.
// Where a wait would point forward in the text (a buffer that is held longer) it is left out: the bound cannot hold.
// `place` turns these waits into shared addresses; `derive_edges` afterwards drops those of which it made no use.
//
// Runs after `sections`. Sources: Zhao et al., "PyTorch FSDP", 2023 (prefetch and rate limit of gathers); Yandex,
// YaFSDP, 2024 (two buffers for gathers, two for gradients, reused by events); ZeRO-Infinity, 2021 (overlapped
// fetches).
#pragma once

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

struct ScheduleSettings {
  int64_t prefetch = 1;  // groups of gathers, and of fetches, in flight beside the one in use
};

Program schedule(Program program, const OpTable& ops, const ScheduleSettings& settings = {});

}  // namespace centavo
