#include "gpu_floor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "machine/virtual/virtual_machine.h"
#include "passes/place.h"
#include "program/text.h"

namespace centavo {
namespace {

constexpr double kAloneSeconds = 0.4;
constexpr double kGuessedFlops = 6e14;  // how many calls fill that time

std::string type_of(DType dtype, const Shape& shape) {
  return fmt::format("{}[{}]", name_of(dtype), fmt::join(shape, ", "));
}

class Floor {
 public:
  Floor(const OpTable& ops, const Worker& worker, double copy) : ops_(ops), worker_(worker), copy_(copy) {}

  double seconds(const Program& program, const Op& op) {
    const OpView v(program, op);
    const OpDef& def = ops_.at(op.kind);
    const Cost cost = def.cost == nullptr ? Cost{0, operand_bytes(v)} : def.cost(v);
    if (op.kind.starts_with("lm_head_loss")) return head(v);
    if (op.kind == "attention_grad") return alone(attention(v, 1), "attention_grad", cost.flops);
    if (op.kind == "attention") return alone(attention(v, 0), "attention", cost.flops);
    const bool product = std::ranges::find(def.inputs, Type::product, &Slot::type) != def.inputs.end();
    if (!product || cost.flops < 1e9) return cost.bytes / copy_;
    const std::string operands = type_of(v.input(0).dtype, {v.rows(0), v.columns(0)});
    if (op.kind == "linear_dx_swiglu_grad") return linear_dx(v, operands, cost.flops);
    return linear(op.kind == "linear_swiglu" ? "linear" : op.kind, operands,
                  type_of(v.input(1).dtype, {v.rows(1), v.columns(1)}), type_of(v.output(0).dtype, v.out(0)),
                  cost.flops);
  }

 private:
  double head(const OpView& v) {
    const int64_t rows = v.in(0)[0], hidden = v.in(0)[1], vocab = v.in(1)[0];
    const int64_t chunk = std::min(v.whole("chunk"), rows);
    const DType dtype = v.input(0).dtype;
    const std::string h = type_of(dtype, {chunk, hidden}), w = type_of(dtype, {vocab, hidden}),
                      logits = type_of(dtype, {chunk, vocab});
    const auto c = static_cast<double>(chunk);
    const double flops = 2 * c * static_cast<double>(hidden) * static_cast<double>(vocab);
    double sum = linear("linear", h, w, logits, flops);
    if (v.has_output(2)) sum += linear("linear_dx", logits, w, h, flops);
    if (v.has_output(3)) sum += linear("linear_dw", logits, h, type_of(v.output(3).dtype, v.out(3)), flops);
    sum += 2 * c * static_cast<double>(vocab * size_of(dtype)) / copy_;
    return sum * static_cast<double>(rows) / c;
  }

  double linear_dx(const OpView& v, const std::string& dy, double flops) {
    const DType dtype = v.input(0).dtype;
    return linear("linear_dx", dy, type_of(dtype, v.in(1)), type_of(dtype, {v.rows(0), v.columns(1)}), flops);
  }

  double linear(const std::string& kind, const std::string& a, const std::string& b, const std::string& c,
                double flops) {
    return alone(fmt::format("centavo 1\nbuffer a {} parameter persistent\nbuffer b {} parameter persistent\n"
                             "buffer c {} activation\nsection begin\n{}{}section alone\n"
                             "  %9 c = {}(a, b) scale=1.0\n",
                             a, b, c, drawn(1, "a", 1), drawn(2, "b", 0.02), kind),
                 kind, flops);
  }

  static std::string drawn(int id, const std::string& buffer, double deviation) {
    return fmt::format("  %{} {} = normal() begin=0 deviation={:.2f} mean=0.0 seed=1 stream={}\n", id, buffer,
                       deviation, id);
  }

  // The op of the program, or the gradient of it.
  static std::string attention(const OpView& v, size_t gradient) {
    const Shape &qkv = v.in(gradient), &y = gradient == 1 ? v.in(0) : v.out(0);
    const Shape& lse = gradient == 1 ? v.in(3) : v.out(1);
    const std::string attributes =
        fmt::format("heads={} kv_heads={} max_seqlen={} uniform=1 window={}", v.whole("heads"), v.whole("kv_heads"),
                    v.whole("max_seqlen"), v.whole("window"));
    const DType dtype = v.input(0).dtype;
    const std::string forward = fmt::format("y, lse = attention(qkv, cu_seqlens) {}\n", attributes);
    std::string text = fmt::format(
        "centavo 1\nbuffer qkv {0} parameter persistent\nbuffer y {1} parameter persistent\nbuffer lse {2} parameter "
        "persistent\nbuffer dy {1} parameter persistent\nbuffer dqkv {0} activation\nbuffer cu_seqlens i32[{3}] "
        "control persistent\nsection begin\n{4}{5}",
        type_of(dtype, qkv), type_of(dtype, y), type_of(DType::f32, lse), qkv[0] / v.whole("max_seqlen") + 1,
        drawn(1, "qkv", 1), drawn(2, "dy", 1));
    if (gradient == 0) return text + "section alone\n  %9 " + forward;
    return text + "  %3 " + forward +
           fmt::format("section alone\n  %9 dqkv = attention_grad(dy, qkv, y, lse, cu_seqlens) {}\n", attributes);
  }

  // Of one call of the op of section `alone`.
  double alone(const std::string& text, const std::string& kind, double flops) {
    const auto [known, is_new] = known_.try_emplace(text, 0);
    if (!is_new) return known->second;
    const int64_t calls = std::max(int64_t{20}, static_cast<int64_t>(kAloneSeconds * kGuessedFlops / flops));
    const Program program = parse(fmt::format("{}step begin alone*{}\n", text, calls));
    const std::unique_ptr<Machine> machine =
        make_machine(place(add_workspaces(program, ops_, worker_.traits())), ops_, worker_.machine_options());
    if (program.find("cu_seqlens") != kNone) write_documents(*machine);
    std::vector<Span> spans = machine->timed_step();
    std::erase_if(spans, [&](const Span& span) { return span.call < calls / 2; });
    double sum = 0;
    for (const Span& span : spans) sum += span.seconds();
    known->second = sum / static_cast<double>(spans.size());
    fmt::print("alone: {:<16}{:>9.3f} ms {:>6.1f} TFLOP/s  {}\n", kind, 1e3 * known->second,
               flops / known->second / 1e12, shapes_of(program));
    return known->second;
  }

  static std::string shapes_of(const Program& program) {
    const Op& op = program.find_section("alone")->ops.front();
    std::string text;
    for (const BufferId id : op.inputs) text += type_of(program.buffer(id).dtype, program.buffer(id).shape) + " ";
    return text;
  }

  // Documents of one length.
  static void write_documents(Machine& machine) {
    const Program& program = machine.program();
    const int64_t tokens = program.buffer(program.find("qkv")).shape[0];
    std::vector<int32_t> begins(static_cast<size_t>(program.buffer(program.find("cu_seqlens")).elements()));
    const auto documents = static_cast<int64_t>(begins.size()) - 1;
    for (int64_t i = 0; i <= documents; ++i) {
      begins[static_cast<size_t>(i)] = static_cast<int32_t>(i * tokens / documents);
    }
    machine.write("cu_seqlens", std::as_bytes(std::span(begins)));
  }

  const OpTable& ops_;
  const Worker& worker_;
  double copy_;
  std::map<std::string, double> known_;  // by program text
};

}  // namespace

std::map<std::string, double> step_floor(const OpTable& ops, const Program& training, const Worker& worker,
                                         double copy_bytes_per_second) {
  Floor floor(ops, worker, copy_bytes_per_second);
  std::map<std::string, double> by_kind;
  for (const Call& call : training.step) {
    for (const Op& op : training.find_section(call.section)->ops) {
      by_kind[op.kind] += static_cast<double>(call.times) * floor.seconds(training, op);
    }
  }
  return by_kind;
}

}  // namespace centavo
