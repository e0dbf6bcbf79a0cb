#include "program/verify.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/nearest.h"
#include "program/access.h"
#include "program/byte_set.h"
#include "program/lifetime.h"
#include "program/order.h"
#include "program/text.h"

namespace centavo {
namespace {

class Verifier {
 public:
  Verifier(const Program& program, const OpTable& ops) : p_(program), ops_(ops) {}

  void run() {
    check_buffers();
    for (const Section& section : p_.sections) check_section(section);
    for (const Call& call : p_.step) {
      if (p_.find_section(call.section) == nullptr)
        user_error("the step calls section {}, which is not there", call.section);
    }
    const Order order(p_);
    check_initialised(order);
    check_conflicts(order);
    check_collectives(order);
    if (!p_.arena_bytes.empty()) check_placement(order);
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(const Section& section, const Op& op, fmt::format_string<Args...> format, Args&&... args) {
    throw UserError(fmt::format("{}: {}", print(p_, section, op), fmt::format(format, std::forward<Args>(args)...)));
  }

  void check_buffers() {
    for (size_t i = 0; i < p_.buffers.size(); ++i) {
      const Buffer& b = p_.buffers[i];
      const int64_t elements = b.elements();  // throws when it is beyond all memory
      if (b.ring) {
        const bool stream = b.kind == BufferKind::stream_in || b.kind == BufferKind::stream_out;
        if (!stream) user_error("buffer {}: only streams are rings, and it is of kind {}", b.name, name_of(b.kind));
        if (b.ring->slots > kMostElements / std::max<int64_t>(elements, 1)) {
          user_error("buffer {}: {} slots of it are larger than any memory", b.name, b.ring->slots);
        }
        const Buffer& counter = p_.buffer(b.ring->counter);
        if (counter.dtype != DType::i64 || counter.elements() != 1 || counter.ring) {
          user_error("buffer {}: its ring counter {} must be i64[1] and no ring", b.name, counter.name);
        }
        if (b.view) user_error("buffer {}: a view cannot be a ring of its own; make its parent one", b.name);
      }
      if (b.view) check_view(b, static_cast<BufferId>(i));
      if (b.trainable && b.kind != BufferKind::parameter) {
        user_error("buffer {}: only parameters are trainable, and it is of kind {}", b.name, name_of(b.kind));
      }
    }
  }

  void check_view(const Buffer& b, BufferId id) {
    const Buffer& parent = p_.buffer(b.view->parent);
    if (b.view->parent >= id || parent.dtype != b.dtype) {
      user_error("buffer {}: a view's parent stands above it and has its dtype; {} does not", b.name, parent.name);
    }
    if (b.view->offset < 0 || b.view->offset > parent.elements() - b.elements()) {
      user_error("buffer {}: {} elements from {} on do not lie inside {} of {} elements", b.name, b.elements(),
                 b.view->offset, parent.name, parent.elements());
    }
  }

  void check_section(const Section& section) {
    std::unordered_map<int32_t, const Op*> seen;
    for (const Op& op : section.ops) {
      check_op(section, op);
      for (const int32_t id : op.after) {
        if (!seen.contains(id))
          fail(section, op, "it waits for %{}, which does not stand above it in this section", id);
      }
      if (!seen.emplace(op.id, &op).second) fail(section, op, "the id %{} is taken", op.id);
      check_replay(section, op, seen);
    }
  }

  void check_replay(const Section& section, const Op& op, const std::unordered_map<int32_t, const Op*>& seen) {
    if (op.logical == op.id) return;
    const auto original = seen.find(op.logical);
    if (original == seen.end()) fail(section, op, "it replays %{}, which does not stand above it", op.logical);
    const Op& first = *original->second;
    if (computes_the_same(first, op)) return;
    const auto shorter = ops_.at(first.kind).short_replay;
    const std::optional<Op> short_form = shorter == nullptr ? std::nullopt : shorter(first);
    if (!short_form || !computes_the_same(*short_form, op)) {
      fail(section, op, "it replays %{}, which is neither the same op nor has it as its short form", op.logical);
    }
  }

  static bool computes_the_same(const Op& a, const Op& b) {
    return a.kind == b.kind && a.attributes == b.attributes && a.inputs == b.inputs && a.outputs == b.outputs;
  }

  void check_op(const Section& section, const Op& op) {
    const OpDef* def = ops_.find(op.kind);
    if (def == nullptr) fail(section, op, "there is no op '{}'{}", op.kind, did_you_mean(op.kind, kinds()));
    check_slots(section, op, def->inputs, op.inputs.size(), "input", [&](size_t i) { return op.inputs[i]; });
    check_slots(section, op, def->outputs, op.outputs.size(), "output", [&](size_t i) { return op.outputs[i].buffer; });
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      if (op.outputs[i].bind == Bind::add && def->outputs[i].adding == Slot::writes_only) {
        fail(section, op, "{} cannot add to its output '{}'; write a temporary and add that", op.kind,
             def->outputs[i].name);
      }
    }
    check_attributes(section, op, *def);
    check_compute_type(section, op, *def);
    check_shapes(section, op, *def);
    check_aliasing(section, op, *def);
  }

  bool overlap(BufferId a, BufferId b) const {
    if (a == kNone || b == kNone) return false;
    int64_t first_a = 0;
    int64_t first_b = 0;
    if (p_.root(a, &first_a) != p_.root(b, &first_b)) return false;
    return first_a < first_b + p_.buffer(b).elements() && first_b < first_a + p_.buffer(a).elements();
  }

  // Is the smaller buffer one of the parts that even cuts of its size make of the larger? Which one is not asked: a
  // program's text does not say for which rank it is.
  bool is_part(BufferId a, BufferId b) const {
    int64_t first_a = 0;
    int64_t first_b = 0;
    p_.root(a, &first_a);
    p_.root(b, &first_b);
    const int64_t n_a = p_.buffer(a).elements();
    const int64_t n_b = p_.buffer(b).elements();
    const int64_t n = std::min(n_a, n_b);
    const int64_t at = n_a < n_b ? first_a - first_b : first_b - first_a;
    return std::max(n_a, n_b) % n == 0 && at % n == 0 && at >= 0 && at + n <= std::max(n_a, n_b);
  }

  bool may_share(const Output& output, BufferId in, Slot::Reuse reuse) const {
    if (reuse == Slot::in_place) return output.buffer == in;
    return reuse == Slot::own_part && output.bind == Bind::write && is_part(output.buffer, in);
  }

  // An output shares no memory with an input, unless its slot allows it, nor with another output.
  void check_aliasing(const Section& section, const Op& op, const OpDef& def) {
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      const BufferId out = op.outputs[i].buffer;
      for (const BufferId in : op.inputs) {
        if (overlap(out, in) && !may_share(op.outputs[i], in, def.outputs[i].reuse)) {
          fail(section, op, "the output '{}' overlaps an input", def.outputs[i].name);
        }
      }
      for (size_t j = 0; j < i; ++j) {
        if (overlap(out, op.outputs[j].buffer)) fail(section, op, "two outputs overlap");
      }
      if (overlap(out, op.workspace)) fail(section, op, "the workspace overlaps an output");
    }
    for (const BufferId in : op.inputs) {
      if (overlap(in, op.workspace)) fail(section, op, "the workspace overlaps an input");
    }
  }

  std::vector<std::string> kinds() const {
    std::vector<std::string> names;
    for (const OpDef& def : ops_.rows()) names.emplace_back(def.kind);
    return names;
  }

  template <class Get>
  void check_slots(const Section& section, const Op& op, const std::vector<Slot>& slots, size_t given, const char* side,
                   const Get& get) {
    if (given > slots.size()) fail(section, op, "{} has {} {}s, not {}", op.kind, slots.size(), side, given);
    for (size_t i = 0; i < slots.size(); ++i) {
      const BufferId id = i < given ? get(i) : kNone;
      if (id == kNone) {
        if (slots[i].need == Slot::required) fail(section, op, "the {} '{}' is missing", side, slots[i].name);
        continue;
      }
      const Buffer& buffer = p_.buffer(id);
      if (!type_fits(slots[i].type, buffer.dtype)) {
        fail(section, op, "the {} '{}' cannot be {} of dtype {}", side, slots[i].name, buffer.name,
             name_of(buffer.dtype));
      }
    }
  }

  static bool type_fits(Type type, DType dtype) {
    const bool compute = dtype == DType::f64 || dtype == DType::f32 || dtype == DType::bf16;
    const bool fp8 = dtype == DType::f8e4m3 || dtype == DType::f8e5m2;
    switch (type) {
      case Type::compute:
      case Type::gradient: return compute;
      case Type::product: return compute || fp8;
      case Type::statistic: return dtype == DType::f64 || dtype == DType::f32;
      case Type::fp8: return fp8;
      case Type::f32: return dtype == DType::f32;
      case Type::i32: return dtype == DType::i32;
      case Type::i64: return dtype == DType::i64;
      case Type::any: return true;
    }
    return false;
  }

  void check_attributes(const Section& section, const Op& op, const OpDef& def) {
    for (const AttributeSpec& spec : def.attributes) {
      const auto it = op.attributes.find(std::string(spec.name));
      if (it == op.attributes.end()) fail(section, op, "the attribute '{}' is missing", spec.name);
      constexpr std::array<const char*, 3> kForms = {"a whole number", "a real number", "a word"};
      if (it->second.index() != spec.form) {
        fail(section, op, "the attribute '{}' must be {}", spec.name, kForms.at(spec.form));
      }
    }
    for (const auto& [key, value] : op.attributes) {
      std::vector<std::string> names;
      for (const AttributeSpec& spec : def.attributes) names.emplace_back(spec.name);
      if (std::ranges::find(names, key) == names.end()) {
        fail(section, op, "{} has no attribute '{}'{}", op.kind, key, did_you_mean(key, names));
      }
    }
  }

  // All compute operands agree, statistics are in their accumulator.
  void check_compute_type(const Section& section, const Op& op, const OpDef& def) {
    std::optional<DType> compute;
    const auto each = [&](const auto& visit) {
      for (size_t i = 0; i < op.inputs.size(); ++i) {
        if (op.inputs[i] != kNone) visit(def.inputs[i], p_.buffer(op.inputs[i]));
      }
      for (size_t i = 0; i < op.outputs.size(); ++i) {
        if (op.outputs[i].buffer != kNone) visit(def.outputs[i], p_.buffer(op.outputs[i].buffer));
      }
    };
    each([&](const Slot& slot, const Buffer& buffer) {
      if (slot.type != Type::compute) return;
      if (compute && *compute != buffer.dtype) {
        fail(section, op, "'{}' is {} of dtype {}, the operands before it are {}", slot.name, buffer.name,
             name_of(buffer.dtype), name_of(*compute));
      }
      compute = buffer.dtype;
    });
    check_products(section, op, each);
    if (!compute) return;
    each([&](const Slot& slot, const Buffer& buffer) {
      if (slot.type == Type::statistic && buffer.dtype != accumulator_of(*compute)) {
        fail(section, op, "'{}' is {} of dtype {}, it must be {}", slot.name, buffer.name, name_of(buffer.dtype),
             name_of(accumulator_of(*compute)));
      }
    });
  }

  // f64 is multiplied with f64 only.
  template <class Each>
  void check_products(const Section& section, const Op& op, const Each& each) {
    std::optional<bool> wide;
    each([&](const Slot& slot, const Buffer& buffer) {
      if (slot.type != Type::product && slot.type != Type::compute) return;
      const bool f64 = buffer.dtype == DType::f64;
      if (wide && *wide != f64) fail(section, op, "'{}' is {}: f64 goes with f64 only", slot.name, buffer.name);
      wide = f64;
    });
  }

  void check_shapes(const Section& section, const Op& op, const OpDef& def) {
    std::vector<Shape> shapes;
    try {
      shapes = def.shapes(OpView(p_, op));
    } catch (const ShapeError& error) {
      fail(section, op, "{}", error.what());
    }
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      if (op.outputs[i].buffer == kNone) continue;
      const Buffer& buffer = p_.buffer(op.outputs[i].buffer);
      if (buffer.shape != shapes.at(i)) {
        fail(section, op, "the output '{}' must be {}, and {} is {}", def.outputs[i].name, to_string(shapes[i]),
             buffer.name, to_string(buffer.shape));
      }
    }
  }

  void check_initialised(const Order& order) {
    std::unordered_map<BufferId, ByteSet> defined;
    int call = 0;
    for (const Instance& instance : order.timeline()) {
      if (instance.call != call) {
        std::erase_if(defined, [&](const auto& entry) { return ends_with_call(p_.buffer(entry.first)); });
        call = instance.call;
      }
      for (const Access& access : accesses(p_, *instance.op)) {
        const Buffer& root = p_.buffer(access.root);
        const bool given = root.persistent || root.borrowed || root.kind == BufferKind::stream_in;
        if (access.mode != Access::write && !given && !defined[access.root].contains(access.begin, access.end)) {
          fail(*instance.section, *instance.op, "{} is read before anything wrote it", p_.buffer(access.buffer).name);
        }
        if (access.mode == Access::write) defined[access.root].insert(access.begin, access.end);
        if (access.mode == Access::read) continue;
        // A counter that moves turns its rings to a slot that nothing has written.
        std::erase_if(defined, [&](const auto& entry) {
          const Buffer& b = p_.buffer(entry.first);
          return b.ring && p_.root(b.ring->counter) == access.root;
        });
      }
    }
  }

  void check_conflicts(const Order& order) {
    struct Seen {
      int instance;
      Access access;
    };
    std::unordered_map<BufferId, std::vector<Seen>> seen;
    int call = 0;
    for (int i = 0; i < static_cast<int>(order.timeline().size()); ++i) {
      const Instance& instance = order.timeline()[static_cast<size_t>(i)];
      if (instance.call != call) seen.clear();
      call = instance.call;
      for (const Access& access : accesses(p_, *instance.op)) {
        for (const Seen& earlier : seen[access.root]) {
          const bool apart = earlier.access.end <= access.begin || access.end <= earlier.access.begin;
          const bool both_read = earlier.access.mode == Access::read && access.mode == Access::read;
          if (apart || both_read || earlier.instance == i || order.before(earlier.instance, i)) continue;
          fail(*instance.section, *instance.op,
               "{} is also touched by %{} in another lane, and nothing orders the two; "
               "add after=%{}",
               p_.buffer(access.buffer).name, order.timeline()[static_cast<size_t>(earlier.instance)].op->id,
               order.timeline()[static_cast<size_t>(earlier.instance)].op->id);
        }
        seen[access.root].push_back({i, access});
      }
    }
  }

  void check_collectives(const Order& order) {
    int last = -1;
    for (int i = 0; i < static_cast<int>(order.timeline().size()); ++i) {
      const Instance& instance = order.timeline()[static_cast<size_t>(i)];
      if (!ops_.at(instance.op->kind).collective) continue;
      if (last >= 0 && !order.before(last, i)) {
        fail(*instance.section, *instance.op,
             "collectives must stand in one order on every rank, and nothing orders "
             "this one after %{}",
             order.timeline()[static_cast<size_t>(last)].op->id);
      }
      last = i;
    }
  }

  struct Placed {
    BufferId id;
    int64_t begin;
    int64_t end;
  };

  void check_placement(const Order& order) {
    const auto lives = spans(p_, order);
    for (const auto& [home, arena_bytes] : p_.arena_bytes) {
      std::vector<Placed> placed;
      for (size_t i = 0; i < p_.buffers.size(); ++i) check_place(static_cast<BufferId>(i), home, arena_bytes, placed);
      std::ranges::sort(placed, {}, &Placed::begin);
      for (size_t i = 0; i < placed.size(); ++i) {
        for (size_t j = i + 1; j < placed.size() && placed[j].begin < placed[i].end; ++j) {
          check_sharing(order, lives, placed[i].id, placed[j].id);
        }
      }
    }
  }

  void check_place(BufferId id, Home home, int64_t arena_bytes, std::vector<Placed>& placed) {
    const Buffer& b = p_.buffer(id);
    if (b.home != home || b.view || b.borrowed) return;
    if (!b.offset_bytes) user_error("buffer {} has no place in a placed program", b.name);
    if (*b.offset_bytes < 0 || *b.offset_bytes % kAlignment != 0 || *b.offset_bytes + b.bytes() > arena_bytes) {
      user_error("buffer {} does not lie aligned inside its arena of {} bytes", b.name, arena_bytes);
    }
    placed.push_back({id, *b.offset_bytes, *b.offset_bytes + b.bytes()});
  }

  void check_sharing(const Order& order, const std::unordered_map<BufferId, std::vector<Span>>& lives, BufferId a,
                     BufferId b) {
    const auto fail_sharing = [&] {
      user_error("buffers {} and {} share an address while both are alive", p_.buffer(a).name, p_.buffer(b).name);
    };
    if (always_alive(p_.buffer(a)) || always_alive(p_.buffer(b))) fail_sharing();
    if (lives.contains(a) && lives.contains(b) && centavo::overlap(order, lives.at(a), lives.at(b))) fail_sharing();
  }

  const Program& p_;
  const OpTable& ops_;
};

}  // namespace

void verify(const Program& program, const OpTable& ops) { Verifier(program, ops).run(); }

}  // namespace centavo
