#include <xxhash.h>

#include "program/text.h"

namespace centavo {
namespace {

std::string print_number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".enE") == std::string::npos) text += ".0";
  return text;
}

std::string print_attribute(const Attribute& attribute) {
  if (const auto* whole = std::get_if<int64_t>(&attribute)) return fmt::format("{}", *whole);
  if (const auto* real = std::get_if<double>(&attribute)) return print_number(*real);
  return std::get<std::string>(attribute);
}

std::string print_buffer(const Program& program, const Buffer& b) {
  std::string line = fmt::format("buffer {} {}{} {}", b.name, name_of(b.dtype), to_string(b.shape), name_of(b.kind));
  if (b.home == Home::host) line += " host";
  if (b.persistent) line += " persistent";
  if (b.trainable) line += " trainable";
  if (b.borrowed) line += " borrowed";
  if (b.ring) line += fmt::format(" ring={}/{}", program.buffer(b.ring->counter).name, b.ring->slots);
  if (b.view) line += fmt::format(" view={}+{}", program.buffer(b.view->parent).name, b.view->offset);
  if (b.layout != kNone) line += fmt::format(" layout={}", program.buffer(b.layout).name);
  if (b.shard) line += fmt::format(" shard={}:{}/{}", b.shard->axis, b.shard->index, b.shard->parts);
  if (b.offset_bytes) line += fmt::format(" at={}", *b.offset_bytes);
  return line;
}

std::string print_operand(const Program& program, BufferId id) { return id == kNone ? "_" : program.buffer(id).name; }

std::string print_whereabouts(const Program& program, const Op& op) {
  std::string text;
  if (op.layer >= 0) text += fmt::format(" layer={}", op.layer);
  if (op.stage != Stage::forward) text += fmt::format(" {}", name_of(op.stage));
  if (op.lane != Lane::compute) text += fmt::format(" {}", name_of(op.lane));
  if (op.logical != op.id) text += fmt::format(" of=%{}", op.logical);
  if (op.workspace != kNone) text += fmt::format(" ws={}", program.buffer(op.workspace).name);
  if (!op.after.empty()) text += fmt::format(" after=%{}", fmt::join(op.after, ",%"));
  return text.empty() ? "" : " |" + text;
}

std::string print_op(const Program& program, const Op& op) {
  std::string line = fmt::format("%{} ", op.id);
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    line += fmt::format("{}{}{}", i == 0 ? "" : ", ", op.outputs[i].bind == Bind::add ? "+" : "",
                        print_operand(program, op.outputs[i].buffer));
  }
  line += fmt::format(" = {}(", op.kind);
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    line += (i == 0 ? "" : ", ") + print_operand(program, op.inputs[i]);
  }
  line += ")";
  for (const auto& [key, value] : op.attributes) line += fmt::format(" {}={}", key, print_attribute(value));
  return line + print_whereabouts(program, op);
}

}  // namespace

std::string print(const Program& program) {
  std::string text = "centavo 1\n";
  if (program.ranks != 1) text += fmt::format("ranks {}\n", program.ranks);
  for (const auto& [home, bytes] : program.arena_bytes) text += fmt::format("arena {} {}\n", name_of(home), bytes);
  for (const Buffer& buffer : program.buffers) text += print_buffer(program, buffer) + "\n";
  for (const Section& section : program.sections) {
    text += fmt::format("section {}\n", section.name);
    for (const Op& op : section.ops) text += "  " + print_op(program, op) + "\n";
  }
  text += "step";
  for (const Call& call : program.step) {
    text += " " + call.section;
    if (call.times != 1) text += fmt::format("*{}", call.times);
  }
  return text + "\n";
}

std::string print(const Program& program, const Section& section, const Op& op) {
  return fmt::format("section {}: {}", section.name, print_op(program, op));
}

uint64_t hash_of(const Program& program) {
  const std::string text = print(program);
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace centavo
