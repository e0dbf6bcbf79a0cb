// A rank's place in a mesh: which part of a cut is its own, and the buffers and ops by which ranks share what is cut.
//
// For the pass `shard` (shard.h has the mesh and the cuts). Part `local * nodes + node` of a cut over all ranks is that
// of the rank `node * local ranks + local`, so that its part over all lies inside its part of the node.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "passes/shard.h"
#include "program/program.h"

namespace centavo {

// Ranks that differ by multiples of `stride`.
struct Axis {
  int64_t ranks = 1;
  int64_t stride = 1;
};

class MeshCuts {
 public:
  // Adds to `program`, which must outlive this.
  MeshCuts(Program& program, const Mesh& mesh, int64_t rank)
      : p_(program), mesh_(mesh), rank_(rank), next_id_(program.next_op_id()) {}

  // In a mesh of one axis a cut over the node is one over all, or none.
  Cut plain(Cut cut) const {
    if (cut != Cut::local) return cut;
    return mesh_.local == 1 ? Cut::whole : mesh_.nodes == 1 ? Cut::all : Cut::local;
  }

  int64_t parts(Cut cut) const { return cut == Cut::whole ? 1 : cut == Cut::local ? mesh_.local : mesh_.ranks(); }
  int64_t index(Cut cut) const {
    const int64_t node = rank_ / mesh_.local;
    const int64_t local = rank_ % mesh_.local;
    return cut == Cut::whole ? 0 : cut == Cut::local ? local : local * mesh_.nodes + node;
  }
  std::optional<Shard> shard_of(Cut cut) const {
    if (parts(cut) == 1) return std::nullopt;
    return Shard{cut == Cut::local && mesh_.nodes > 1 ? "local" : "data", index(cut), parts(cut)};
  }
  Axis local_axis() const { return {mesh_.local, 1}; }
  Axis node_axis() const { return {mesh_.nodes, mesh_.local}; }

  int32_t next_id() { return next_id_++; }
  Op collective(const char* kind, BufferId from, BufferId to, const Axis& axis, Stage stage, int32_t layer);
  // A flat buffer with `elements` elements, otherwise as `like`.
  BufferId flat(const std::string& name, BufferId like, int64_t elements, BufferKind kind);
  // This rank's part of a whole flat buffer, as a window into it; `outer` is a cut that `cut` refines.
  BufferId window(BufferId parent, Cut outer, Cut cut);
  // Gathers `from`, cut as `cut`, to `to`, cut as `outer`: over the nodes, then inside the node. `between` is where the
  // first of two gathers goes.
  std::vector<Op> gathers(BufferId from, Cut cut, BufferId to, Cut outer, BufferId between, Stage stage, int32_t layer);

 private:
  Program& p_;
  Mesh mesh_;
  int64_t rank_;
  int32_t next_id_;
};

}  // namespace centavo
