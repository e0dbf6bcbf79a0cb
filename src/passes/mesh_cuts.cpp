#include "passes/mesh_cuts.h"

namespace centavo {
namespace {

Op collective(const char* kind, const Axis& axis, BufferId from, BufferId to, Stage stage) {
  Op op;
  op.kind = kind;
  op.inputs = {from};
  op.outputs = {{to, Bind::write}};
  op.attributes = {{"ranks", axis.ranks}, {"stride", axis.stride}};
  op.stage = stage;
  return op;
}

}  // namespace

Cut MeshCuts::plain(Cut cut) const {
  if (cut != Cut::local) return cut;
  return mesh_.local == 1 ? Cut::whole : mesh_.nodes == 1 ? Cut::all : Cut::local;
}

int64_t MeshCuts::index(Cut cut) const {
  const int64_t node = rank_ / mesh_.local;
  const int64_t local = rank_ % mesh_.local;
  return cut == Cut::whole ? 0 : cut == Cut::local ? local : local * mesh_.nodes + node;
}

std::optional<Shard> MeshCuts::shard_of(Cut cut) const {
  if (parts(cut) == 1) return std::nullopt;
  return Shard{cut == Cut::local && mesh_.nodes > 1 ? "local" : "data", index(cut), parts(cut)};
}

std::vector<Axis> MeshCuts::axes(Cut outer, Cut cut) const {
  std::vector<Axis> found;
  const Axis local{mesh_.local, 1, plain(Cut::local)};
  const Axis nodes{mesh_.nodes, mesh_.local, Cut::all};
  for (const Axis& axis : {local, nodes}) {
    if (axis.ranks > 1 && outer < axis.cut && axis.cut <= cut) found.push_back(axis);
  }
  return found;
}

BufferId MeshCuts::window(BufferId parent, Cut outer, Cut cut) {
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

Route MeshCuts::windows(BufferId whole, Cut outer, Cut cut) {
  Route route{whole, whole, whole};
  for (const Axis& axis : axes(outer, cut)) {
    route.node = route.part;
    route.part = window(route.part, outer, axis.cut);
    outer = axis.cut;
  }
  return route;
}

Route MeshCuts::between(BufferId whole, BufferId part, Cut last, const std::string& node) {
  if (axes(Cut::whole, last).size() < 2) return {whole, kNone, part};
  const Buffer& b = p_.buffer(whole);
  return {whole, p_.add({.name = node, .dtype = b.dtype, .shape = {b.elements() / mesh_.local}}), part};
}

std::vector<Op> MeshCuts::gather(const Route& route, Cut outer, Cut cut, Stage stage) const {
  std::vector<Op> ops;
  std::vector<Axis> way = axes(outer, cut);
  for (BufferId from = route.part; !way.empty(); way.pop_back()) {
    const BufferId to = way.size() > 1 ? route.node : route.whole;
    ops.push_back(collective("all_gather", way.back(), from, to, stage));
    from = to;
  }
  return ops;
}

std::vector<Op> MeshCuts::reduce(const Route& route, Cut cut, Stage stage, Cut outer, Cut last) const {
  std::vector<Op> ops;
  const std::vector<Axis> way = axes(outer, last);
  BufferId from = route.whole;
  for (const Axis& axis : way) {
    const BufferId to = &axis == &way.back() ? route.part : route.node;
    ops.push_back(collective(axis.cut <= cut ? "reduce_scatter" : "all_reduce", axis, from, to, stage));
    from = to;
  }
  return ops;
}

}  // namespace centavo
