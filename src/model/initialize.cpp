#include "model/initialize.h"

#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"

namespace centavo {
namespace {

bool ends_with(const std::string& name, std::string_view suffix) { return name.ends_with(suffix); }

struct Law {
  double mean = 0;
  double deviation = 0;
};

Law law_of(const Buffer& parameter, const ModelConfig& config) {
  const std::string& name = parameter.name;
  if (ends_with(name, "norm.weight")) return {1, 0};
  if (ends_with(name, ".bias") || ends_with(name, ".lora_b")) return {0, 0};
  if (ends_with(name, ".lora_a")) return {0, 1 / std::sqrt(static_cast<double>(parameter.shape.back()))};
  const bool residual = ends_with(name, ".o.weight") || ends_with(name, ".down.weight");
  const double layers = static_cast<double>(config.num_hidden_layers);
  return {0, config.initializer_range / (residual ? std::sqrt(2 * layers) : 1.0)};
}

std::vector<float> draw(const Buffer& parameter, const Law& law, uint64_t seed) {
  const RandomStream stream{seed, stream_of(parameter.name.data(), parameter.name.size())};
  std::vector<float> values(static_cast<size_t>(parameter.elements()));
  parallel_for(parameter.elements(), 4096, [&](int64_t i) {
    const double noise = law.deviation == 0 ? 0 : law.deviation * stream.normal(static_cast<uint64_t>(i));
    values[static_cast<size_t>(i)] = static_cast<float>(law.mean + noise);
  });
  return values;
}

void write_as(Machine& machine, const std::string& name, DType dtype, const std::vector<float>& values) {
  visit_compute(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> typed;
    typed.reserve(values.size());
    for (const float value : values) typed.push_back(convert<T>(value));
    machine.write(name, std::as_bytes(std::span<const T>(typed)));
  });
}

}  // namespace

void initialize_parameters(Machine& machine, const ModelConfig& config, uint64_t seed) {
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::parameter || b.borrowed) continue;
    const std::vector<float> values = draw(b, law_of(b, config), seed);
    write_as(machine, b.name, b.dtype, values);
    const std::string master = b.name + ".master";
    if (machine.program().find(master) != kNone) write_as(machine, master, DType::f32, values);
  }
}

}  // namespace centavo
