#include "train/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "train/step_program.h"

namespace centavo {
namespace {

void write_ints(Machine& machine, const char* name, const std::vector<int32_t>& values) {
  machine.write(name, std::as_bytes(std::span(values)));
}

// Feeds `tokens` at positions `first` and on, and returns the logits of the last one.
std::vector<double> next_logits(CpuMachine& machine, const std::vector<int32_t>& tokens, int64_t first) {
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
  write_ints(machine, "tokens", tokens);
  write_ints(machine, "positions", positions);
  write_ints(machine, "position", {static_cast<int32_t>(first)});
  write_ints(machine, "cu_seqlens", {0, static_cast<int32_t>(tokens.size())});
  machine.step();

  const Buffer& buffer = machine.program().buffer(machine.program().find("logits"));
  const int64_t vocabulary = buffer.shape.back();
  std::vector<double> logits(static_cast<size_t>(vocabulary));
  visit_compute(buffer.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* last = reinterpret_cast<const T*>(machine.memory("logits")) + buffer.elements() - vocabulary;
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = convert<double>(last[i]);
  });
  return logits;
}

// Draws from softmax(logits / temperature).
int32_t draw(const std::vector<double>& logits, double temperature, double uniform) {
  const auto best = std::ranges::max_element(logits);
  if (temperature <= 0) return static_cast<int32_t>(best - logits.begin());
  std::vector<double> weights;
  for (const double logit : logits) weights.push_back(std::exp((logit - *best) / temperature));
  double rest = uniform * std::reduce(weights.begin(), weights.end());
  for (size_t i = 0; i < weights.size(); ++i) {
    rest -= weights[i];
    if (rest < 0) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(weights.size()) - 1;
}

}  // namespace

std::string sample_text(const OpTable& ops, const RunConfig& config, CpuMachine& weights, const std::string& prompt,
                        const SampleSettings& settings) {
  CHECK(!prompt.empty(), "a sample needs a prompt");
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t max_len = std::min(prompt_tokens + settings.tokens, config.model.max_position_embeddings);
  const int threads = CpuMachine::thread_count(config.threads);
  CpuMachine prefill(decoding_program(ops, config, threads, prompt_tokens, max_len, false), ops,
                     {.threads = config.threads, .debug = false, .lender = &weights});
  CpuMachine decode(decoding_program(ops, config, threads, 1, max_len, true), ops,
                    {.threads = config.threads, .debug = false, .lender = &prefill});

  std::vector<int32_t> tokens;
  for (const char c : prompt) tokens.push_back(static_cast<unsigned char>(c));
  std::vector<double> logits = next_logits(prefill, tokens, 0);
  const RandomStream random{settings.seed, stream_of("sample", 6)};
  std::string text;
  for (int64_t position = prompt_tokens; position < max_len; ++position) {
    const int32_t token = draw(logits, settings.temperature, random.uniform(static_cast<uint64_t>(position)));
    text.push_back(static_cast<char>(token));
    if (position + 1 < max_len) logits = next_logits(decode, {token}, position);
  }
  return text;
}

}  // namespace centavo
