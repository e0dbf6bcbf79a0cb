#include "passes/mesh_cuts.h"

namespace centavo {

Op MeshCuts::collective(const char* kind, BufferId from, BufferId to, const Axis& axis, Stage stage, int32_t layer) {
  Op op;
  op.id = op.logical = next_id_++;
  op.kind = kind;
  op.inputs = {from};
  op.outputs = {{to, Bind::write}};
  op.attributes = {{"ranks", axis.ranks}, {"stride", axis.stride}};
  op.stage = stage;
  op.layer = layer;
  return op;
}

BufferId MeshCuts::flat(const std::string& name, BufferId like, int64_t elements, BufferKind kind) {
  return p_.add({.name = name, .dtype = p_.buffer(like).dtype, .shape = {elements}, .kind = kind});
}

BufferId MeshCuts::window(BufferId parent, Cut outer, Cut cut) {
  if (parts(outer) == parts(cut)) return parent;
  const Buffer b = p_.buffer(parent);
  const std::string name = b.name + (cut == Cut::all ? ".part" : ".node");
  if (const BufferId found = p_.find(name); found != kNone) return found;
  const int64_t inside = parts(cut) / parts(outer);
  const int64_t elements = b.elements() / inside;
  const int64_t offset = (index(cut) - index(outer) * inside) * elements;
  return p_.add({.name = name,
                 .dtype = b.dtype,
                 .shape = {elements},
                 .kind = b.kind,
                 .view = View{parent, offset},
                 .shard = shard_of(cut)});
}

std::vector<Op> MeshCuts::gathers(BufferId from, Cut cut, BufferId to, Cut outer, BufferId between, Stage stage,
                                  int32_t layer) {
  std::vector<Op> ops;
  const bool nodes = cut == Cut::all && mesh_.nodes > 1;
  const bool local = outer == Cut::whole && mesh_.local > 1;
  if (nodes) ops.push_back(collective("all_gather", from, local ? between : to, node_axis(), stage, layer));
  if (local) ops.push_back(collective("all_gather", nodes ? between : from, to, local_axis(), stage, layer));
  return ops;
}

}  // namespace centavo
