#include "model/initialize.h"

#include <cmath>

#include "ops/all.h"
#include "ops/normal/normal.h"
#include "passes/place.h"
#include "program/tensors.h"

namespace centavo {
namespace {

bool ends_with(const std::string& name, std::string_view suffix) { return name.ends_with(suffix); }

NormalLaw law_of(const std::string& name, const Shape& shape, const ModelConfig& config) {
  if (ends_with(name, "norm.weight")) return {1, 0};
  if (ends_with(name, ".bias") || ends_with(name, ".lora_b")) return {0, 0};
  if (ends_with(name, ".lora_a")) return {0, 1 / std::sqrt(static_cast<double>(shape.back()))};
  const bool residual = ends_with(name, ".o.weight") || ends_with(name, ".down.weight");
  const double layers = static_cast<double>(config.num_hidden_layers);
  return {0, config.initializer_range / (residual ? std::sqrt(2 * layers) : 1.0)};
}

// Writes the elements of `part`, in memory that the program borrows.
void draw(Builder& b, const TensorPart& part, const Buffer& lent, const std::string& parameter, const NormalLaw& law,
          uint64_t seed) {
  BufferId whole = b.program.find(lent.name);
  if (whole == kNone) {
    whole = b.program.add({.name = lent.name,
                           .dtype = lent.dtype,
                           .shape = lent.shape,
                           .kind = lent.kind,
                           .home = lent.home,
                           .borrowed = true});
  }
  const BufferId window = b.program.add({.name = part.tensor + ".drawn",
                                         .dtype = lent.dtype,
                                         .shape = {part.elements()},
                                         .kind = lent.kind,
                                         .home = lent.home,
                                         .view = View{whole, part.at}});
  if (law.deviation == 0) {
    b.call("fill", {}, {Into(window)}, {{"value", law.mean}});
  } else {
    normal(b, window, law, {seed, stream_of(parameter.data(), parameter.size())}, part.begin);
  }
}

constexpr std::string_view kMaster = ".master";

}  // namespace

void initialize_parameters(Machine& machine, const ModelConfig& config, uint64_t seed) {
  const OpTable ops = all_ops();
  const Program& program = machine.program();
  Builder b(ops, "initialize");
  for (const TensorPart& part : tensor_parts(program)) {
    const bool master = part.kind == BufferKind::optimizer_state && part.tensor.ends_with(kMaster);
    if (part.kind != BufferKind::parameter && !master) continue;
    const std::string parameter = master ? part.tensor.substr(0, part.tensor.size() - kMaster.size()) : part.tensor;
    if (part.elements() == 0) continue;
    draw(b, part, program.buffer(part.buffer), parameter, law_of(parameter, part.shape, config), seed);
  }
  machine.run_once(place(std::move(b.program)), ops);
}

}  // namespace centavo
