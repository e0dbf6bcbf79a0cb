#include "passes/sections.h"

#include <algorithm>
#include <set>

#include "program/access.h"

namespace centavo {
namespace {

bool of_update(const Op& op) { return op.stage == Stage::update; }

void mark_read(const Program& program, const Op& op, std::set<BufferId>& roots) {
  for (const Access& access : accesses(program, op)) {
    if (access.mode != Access::write) roots.insert(access.root);
  }
}

// What the end of the step reads: the update, and the micro-batch's own ops of that stage.
std::set<BufferId> read_by_update(const Program& program, const Section& micro, const Section& update) {
  std::set<BufferId> roots;
  for (const Op& op : update.ops) mark_read(program, op, roots);
  for (const Op& op : micro.ops) {
    if (of_update(op)) mark_read(program, op, roots);
  }
  return roots;
}

// The roots that the micro-batch defines anew and the end of the step reads, in the order of their first writers.
std::vector<BufferId> sums_of(const Program& program, const Section& micro, const Section& update) {
  const std::set<BufferId> read = read_by_update(program, micro, update);
  std::vector<BufferId> sums;
  for (const Op& op : micro.ops) {
    if (of_update(op)) continue;
    for (const Access& access : accesses(program, op)) {
      const bool sum = access.mode == Access::write && read.contains(access.root);
      if (sum && std::ranges::count(sums, access.root) == 0) sums.push_back(access.root);
    }
  }
  return sums;
}

Section without_update(Section section) {
  std::erase_if(section.ops, of_update);
  return section;
}

Section named(Section section, std::string name) {
  section.name = std::move(name);
  return section;
}

// What turns one micro-batch's section into those of a step.
class Accumulation {
 public:
  Accumulation(Program& program, const OpTable& ops, std::set<BufferId> chained)
      : p_(program), ops_(ops), chained_(std::move(chained)), next_id_(program.next_op_id()) {}

  // The micro-batch with every first contribution to a chained sum turned from a write into an addition.
  Section adding(const Section& micro);
  // Appends, for a leaf in `sum`, the additions of the waiting sums of `levels` (ascending); the result goes to `to`.
  void carry(Section& section, BufferId sum, const std::vector<int>& levels, BufferId to);
  // The buffer where complete subtrees of 2^level leaves wait.
  BufferId waiting(BufferId sum, int level);

 private:
  bool adds_to_chain(const Op& op, const Output& output) const;
  Op operation(std::string kind, std::vector<BufferId> inputs, Output output, const Op& like);

  Program& p_;
  const OpTable& ops_;
  std::set<BufferId> chained_;
  int32_t next_id_;
};

Op Accumulation::operation(std::string kind, std::vector<BufferId> inputs, Output output, const Op& like) {
  Op op;
  op.id = op.logical = next_id_++;
  op.kind = std::move(kind);
  op.inputs = std::move(inputs);
  op.outputs = {output};
  op.stage = like.stage;
  op.layer = like.layer;
  return op;
}

bool Accumulation::adds_to_chain(const Op& op, const Output& output) const {
  if (output.buffer == kNone || output.bind == Bind::add || !chained_.contains(p_.root(output.buffer))) return false;
  return std::ranges::find(op.inputs, output.buffer) == op.inputs.end();  // else it updates in place already
}

Section Accumulation::adding(const Section& micro) {
  Section result{micro.name, {}};
  for (Op op : micro.ops) {
    std::vector<Op> additions;
    for (size_t i = 0; i < op.outputs.size() && !of_update(op); ++i) {
      Output& output = op.outputs[i];
      if (!adds_to_chain(op, output)) continue;
      if (ops_.at(op.kind).outputs[i].adding == Slot::can_add) {
        output.bind = Bind::add;
        continue;
      }
      const Buffer total = p_.buffer(output.buffer);
      BufferId part = p_.find(total.name + ".part");
      if (part == kNone) part = p_.add({.name = total.name + ".part", .dtype = total.dtype, .shape = total.shape});
      additions.push_back(operation("add", {output.buffer, part}, output, op));
      output.buffer = part;
    }
    result.ops.push_back(std::move(op));
    for (Op& addition : additions) result.ops.push_back(std::move(addition));
  }
  return result;
}

BufferId Accumulation::waiting(BufferId sum, int level) {
  const Buffer like = p_.buffer(sum);
  const std::string name = fmt::format("{}.sum{}", like.name, level);
  const BufferId found = p_.find(name);
  if (found != kNone) return found;
  return p_.add({.name = name, .dtype = like.dtype, .shape = like.shape, .kind = like.kind, .shard = like.shard});
}

void Accumulation::carry(Section& section, BufferId sum, const std::vector<int>& levels, BufferId to) {
  Op like;
  like.stage = Stage::backward;
  if (levels.empty() && to != sum) section.ops.push_back(operation("copy", {sum}, {to, Bind::write}, like));
  for (size_t i = 0; i < levels.size(); ++i) {
    const BufferId target = i + 1 == levels.size() ? to : sum;
    section.ops.push_back(operation("add", {waiting(sum, levels[i]), sum}, {target, Bind::write}, like));
  }
}

// Levels whose bit is set in `number`, ascending.
std::vector<int> set_bits(int64_t number) {
  std::vector<int> levels;
  for (int level = 0; number >> level != 0; ++level) {
    if ((number >> level & 1) != 0) levels.push_back(level);
  }
  return levels;
}

std::vector<int> trailing_ones(int64_t number) {
  std::vector<int> levels;
  for (int level = 0; (number >> level & 1) != 0; ++level) levels.push_back(level);
  return levels;
}

void chain(Program& program, const OpTable& ops, const Section& micro, const std::vector<BufferId>& sums,
           int64_t micro_batches) {
  Accumulation accumulation(program, ops, {sums.begin(), sums.end()});
  if (micro_batches == 1) {
    program.sections = {named(micro, "only")};
    program.step = {{"only", 1}};
    return;
  }
  const Section later = accumulation.adding(micro);
  program.sections = {named(without_update(micro), "first")};
  program.step = {{"first", 1}};
  if (micro_batches > 2) {
    program.sections.push_back(named(without_update(later), "middle"));
    program.step.push_back({"middle", micro_batches - 2});
  }
  program.sections.push_back(named(later, "last"));
  program.step.push_back({"last", 1});
}

void tree(Program& program, const OpTable& ops, const Section& micro, const std::vector<BufferId>& sums,
          int64_t micro_batches) {
  std::set<BufferId> whole_numbers;
  std::vector<BufferId> floats;
  for (const BufferId sum : sums) {
    if (is_float(program.buffer(sum).dtype)) {
      floats.push_back(sum);
    } else {
      whole_numbers.insert(sum);
    }
  }
  Accumulation accumulation(program, ops, whole_numbers);
  const Section later = accumulation.adding(micro);
  program.sections.clear();
  program.step.clear();
  for (int64_t i = 0; i + 1 < micro_batches; ++i) {
    const std::vector<int> levels = trailing_ones(i);
    const std::string name = i == 0 ? "first" : fmt::format("leaf{}", levels.size());
    program.step.push_back({name, 1});
    if (program.find_section(name) != nullptr) continue;
    Section section = named(without_update(i == 0 ? micro : later), name);
    for (const BufferId sum : floats) {
      accumulation.carry(section, sum, levels, accumulation.waiting(sum, static_cast<int>(levels.size())));
    }
    program.sections.push_back(std::move(section));
  }
  Section last = named(without_update(micro_batches == 1 ? micro : later), micro_batches == 1 ? "only" : "last");
  for (const BufferId sum : floats) accumulation.carry(last, sum, set_bits(micro_batches - 1), sum);
  for (const Op& op : micro.ops) {
    if (of_update(op)) last.ops.push_back(op);
  }
  program.step.push_back({last.name, 1});
  program.sections.push_back(std::move(last));
}

// Every micro-batch ends by moving on to the next slot of the rings it read.
void advance_at_end(Program& program) {
  const BufferId counter = program.find("micro_step");
  if (counter == kNone) return;
  for (Section& section : program.sections) {
    if (section.name == "update") continue;
    Op op;
    op.id = op.logical = program.next_op_id();
    op.kind = "advance";
    op.inputs = {counter};
    op.outputs = {{counter, Bind::write}};
    op.stage = Stage::update;
    section.ops.push_back(std::move(op));
  }
}

}  // namespace

Program sections(Program program, const OpTable& ops, int64_t micro_batches, GradSum grad_sum) {
  CHECK(micro_batches >= 1);
  const Section* found = program.find_section("micro");
  CHECK(found != nullptr, "there is no micro-batch to make sections of");
  const Section* update = program.find_section("update");
  if (update == nullptr) {
    advance_at_end(program);
    program.step = {{"micro", micro_batches}};
    return program;
  }
  const Section micro = *found;
  const Section last = *update;
  const std::vector<BufferId> sums = sums_of(program, micro, last);
  if (grad_sum == GradSum::chain) {
    chain(program, ops, micro, sums, micro_batches);
  } else {
    tree(program, ops, micro, sums, micro_batches);
  }
  advance_at_end(program);
  program.sections.push_back(last);
  program.step.push_back({"update", 1});
  return program;
}

}  // namespace centavo
