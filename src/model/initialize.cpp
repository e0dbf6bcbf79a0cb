#include "model/initialize.h"

#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"
#include "program/tensors.h"

namespace centavo {
namespace {

bool ends_with(const std::string& name, std::string_view suffix) { return name.ends_with(suffix); }

struct Law {
  double mean = 0;
  double deviation = 0;
};

Law law_of(const std::string& name, const Shape& shape, const ModelConfig& config) {
  if (ends_with(name, "norm.weight")) return {1, 0};
  if (ends_with(name, ".bias") || ends_with(name, ".lora_b")) return {0, 0};
  if (ends_with(name, ".lora_a")) return {0, 1 / std::sqrt(static_cast<double>(shape.back()))};
  const bool residual = ends_with(name, ".o.weight") || ends_with(name, ".down.weight");
  const double layers = static_cast<double>(config.num_hidden_layers);
  return {0, config.initializer_range / (residual ? std::sqrt(2 * layers) : 1.0)};
}

// Elements [begin, end) of a parameter.
std::vector<float> draw(const TensorPart& part, const std::string& parameter, const Law& law, uint64_t seed) {
  const RandomStream stream{seed, stream_of(parameter.data(), parameter.size())};
  std::vector<float> values(static_cast<size_t>(part.elements()));
  parallel_for(part.elements(), 4096, [&](int64_t i) {
    const double noise = law.deviation == 0 ? 0 : law.deviation * stream.normal(static_cast<uint64_t>(part.begin + i));
    values[static_cast<size_t>(i)] = static_cast<float>(law.mean + noise);
  });
  return values;
}

void write_part(Machine& machine, const TensorPart& part, const std::vector<float>& values) {
  visit_compute(part.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> typed;
    typed.reserve(values.size());
    for (const float value : values) typed.push_back(convert<T>(value));
    machine.write_elements(machine.program().buffer(part.buffer).name, part.at,
                           std::as_bytes(std::span<const T>(typed)));
  });
}

constexpr std::string_view kMaster = ".master";

}  // namespace

void initialize_parameters(Machine& machine, const ModelConfig& config, uint64_t seed) {
  for (const TensorPart& part : tensor_parts(machine.program())) {
    const bool master = part.kind == BufferKind::optimizer_state && part.tensor.ends_with(kMaster);
    if (part.kind != BufferKind::parameter && !master) continue;
    const std::string parameter = master ? part.tensor.substr(0, part.tensor.size() - kMaster.size()) : part.tensor;
    write_part(machine, part, draw(part, parameter, law_of(parameter, part.shape, config), seed));
  }
}

}  // namespace centavo
