#include "plan/random_run.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/initialize.h"

namespace centavo {
namespace {

// Fills every slot of a ring, or the one buffer.
template <class T>
void write_slots(Machine& machine, const std::string& name, const std::vector<T>& values) {
  const Buffer& buffer = machine.program().buffer(machine.program().find(name));
  const int64_t slots = buffer.ring ? buffer.ring->slots : 1;
  for (int64_t slot = 0; slot < slots; ++slot) machine.write(name, std::as_bytes(std::span(values)), slot);
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, const RandomStream& random) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(random.bits(i) % static_cast<uint32_t>(vocab_size));
  }
  return tokens;
}

// The borders of absent documents stand at the end.
std::vector<int32_t> borders(const RunConfig& config, int64_t count) {
  std::vector<int32_t> cu_seqlens(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    cu_seqlens[static_cast<size_t>(i)] = static_cast<int32_t>(std::min(i, config.micro_batch) * config.seq_len);
  }
  return cu_seqlens;
}

}  // namespace

void begin_random_run(Machine& machine, const RunConfig& config) {
  initialize_parameters(machine, config.model, 1);
  write_slots(machine, "lr", std::vector<float>{static_cast<float>(config.learning_rate)});
  if (machine.program().find("seed") != kNone) write_slots(machine, "seed", std::vector<int64_t>{1});
}

void feed_random_tokens(Machine& machine, const RunConfig& config, uint64_t key) {
  const int64_t count = config.micro_batch * config.seq_len;
  const int64_t vocab = config.model.vocab_size;
  std::vector<int32_t> positions(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) positions[static_cast<size_t>(i)] = static_cast<int32_t>(i % config.seq_len);
  const Program& program = machine.program();
  write_slots(machine, "tokens", random_tokens(count, vocab, {key, stream_of("tokens", 6)}));
  write_slots(machine, "targets", random_tokens(count, vocab, {key, stream_of("targets", 7)}));
  write_slots(machine, "positions", positions);
  write_slots(machine, "cu_seqlens", borders(config, program.buffer(program.find("cu_seqlens")).elements()));
}

}  // namespace centavo
