// Tensors cut over a mesh of ranks: which part is a rank's own, and what moves when ranks share or sum them.
//
// Ranks form a mesh, rank = node * local + index in the node. `local` cuts a flat tensor over the ranks of a node,
// `all` over all of them, by a second cut over the nodes. Cuts are even, and part `index * nodes + node` of a cut over
// all is a rank's own, so that it lies inside the rank's part of the node.
//
// So whole, local, all is a way along the axes of the mesh. A gather goes it backwards, a reduction forwards, one
// collective an axis: it scatters where the result is cut over that axis, and sums where it is not.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "program/program.h"

namespace centavo {

enum class Cut : uint8_t { whole, local, all };

struct Mesh {
  int64_t nodes = 1;
  int64_t local = 1;  // ranks of a node
  int64_t ranks() const { return nodes * local; }
};

// Ranks that differ by multiples of `stride`.
struct Axis {
  int64_t ranks = 1;
  int64_t stride = 1;
  Cut cut = Cut::all;  // what a tensor's cut is behind the one over this axis
};

// The buffers on the way. `node` is where one collective leaves what the next takes; unused where there is only one.
struct Route {
  BufferId whole = kNone;
  BufferId node = kNone;
  BufferId part = kNone;
};

class MeshCuts {
 public:
  // Adds buffers to `program`, which must outlive this.
  MeshCuts(Program& program, const Mesh& mesh, int64_t rank) : p_(program), mesh_(mesh), rank_(rank) {}

  // In a mesh of one axis a cut over the node is one over all, or none.
  Cut plain(Cut cut) const;
  int64_t parts(Cut cut) const { return cut == Cut::whole ? 1 : cut == Cut::local ? mesh_.local : mesh_.ranks(); }
  std::optional<Shard> shard_of(Cut cut) const;
  // The axes from `outer` to the finer `cut`, none of them of one rank.
  std::vector<Axis> axes(Cut outer, Cut cut) const;

  // In place: this rank's part of a flat buffer cut as `outer`, as a window into it.
  Route windows(BufferId whole, Cut outer, Cut cut);
  // Between buffers of their own, along the axes to `last`. Adds a buffer `node` where these are two.
  Route between(BufferId whole, BufferId part, Cut last, const std::string& node);

  // `part`, cut as `cut`, to `whole`, cut as `outer`. Ops without ids.
  std::vector<Op> gather(const Route& route, Cut outer, Cut cut, Stage stage) const;
  // Sums `whole` over the axes from `outer` to `last` to `part`, cut as `cut`. Ops without ids.
  std::vector<Op> reduce(const Route& route, Cut cut, Stage stage, Cut outer = Cut::whole, Cut last = Cut::all) const;

 private:
  int64_t index(Cut cut) const;
  BufferId window(BufferId parent, Cut outer, Cut cut);

  Program& p_;
  Mesh mesh_;
  int64_t rank_;
};

}  // namespace centavo
