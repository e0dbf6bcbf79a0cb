#include "tests/support/worlds.h"

#include <cstring>
#include <mutex>

#include "machine/comm/threads.h"
#include "model/initialize.h"
#include "program/tensors.h"
#include "train/step_program.h"
#include "train/token_feed.h"

namespace centavo::testing {
namespace {

constexpr int64_t kStepSlots = 2;

void fill_step(Machine& machine, TokenFeed& feed, const RunConfig& config, const Communicator& world, int64_t step) {
  const int64_t micro_batches = micro_batches_of(config, world.ranks());
  for (int64_t i = 0; i < micro_batches; ++i) {
    const int64_t slot = (step * micro_batches + i) % token_slots(config, world.ranks());
    const int64_t leaf = i * world.ranks() + world.rank();
    if (leaf < config.grad_accum_steps) {
      feed.training(machine, step * config.grad_accum_steps + leaf, slot);
    } else {
      feed.nothing(machine, slot);
    }
  }
  const auto lr = static_cast<float>(config.learning_rate);
  machine.write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step % kStepSlots);
}

// One rank's part of the result.
class Collector {
 public:
  void add(const Machine& machine, const std::vector<std::vector<float>>& metrics, int64_t rank) {
    const std::lock_guard lock(mutex_);
    if (rank == 0) run_.metrics = metrics;
    CHECK(std::memcmp(metrics.back().data(), run_.metrics.empty() ? metrics.back().data() : run_.metrics.back().data(),
                      metrics.back().size() * sizeof(float)) == 0,
          "rank {} has other metrics", rank);
    int64_t persistent = 0;
    state_.add(machine, rank);
    for (const Buffer& b : machine.program().buffers) {
      const bool counts = b.kind == BufferKind::parameter || b.kind == BufferKind::optimizer_state;
      if (b.persistent && !b.view && counts) persistent += b.bytes();
    }
    run_.device_bytes = std::max(run_.device_bytes, machine.program().arena_bytes.at(Home::device));
    run_.persistent_bytes = std::max(run_.persistent_bytes, persistent);
  }

  WorldRun take() {
    run_.state = state_.take();
    return std::move(run_);
  }

 private:
  std::mutex mutex_;
  WorldRun run_;
  WorldState state_;
};

void run_rank(const RunConfig& config, const Corpus& corpus, const Mesh& mesh, int64_t steps, MachineOptions options,
              Communicator& world, Collector& collector) {
  const Worker worker(options.threads, mesh, world.rank());
  options.communicator = &world;
  const auto machine = machine_for(training_program(test_ops(), config, worker, "schedule"), options);
  initialize_parameters(*machine, config.model, static_cast<uint64_t>(config.seed));
  if (machine->program().find("seed") != kNone) {
    machine->write("seed", std::as_bytes(std::span<const int64_t>(&config.seed, 1)));
  }
  TokenFeed feed(corpus, config);
  std::vector<std::vector<float>> metrics;
  for (int64_t step = 0; step < steps; ++step) {
    fill_step(*machine, feed, config, world, step);
    machine->step();
    metrics.emplace_back(4);
    machine->read("metrics", std::as_writable_bytes(std::span(metrics.back())), step % kStepSlots);
  }
  collector.add(*machine, metrics, world.rank());
}

}  // namespace

void WorldState::add(const Machine& machine, int64_t rank) {
  for (const TensorPart& part : tensor_parts(machine.program())) {
    const auto size = static_cast<size_t>(size_of(part.dtype));
    const auto elements = static_cast<size_t>(element_count(part.shape));
    std::vector<std::byte>& whole = state_[part.tensor];
    std::vector<bool>& seen = seen_[part.tensor];
    whole.resize(elements * size);
    seen.resize(elements);
    std::vector<std::byte> held(static_cast<size_t>(part.elements()) * size);
    machine.read_elements(machine.program().buffer(part.buffer).name, part.at, held);
    const std::byte* from = held.data();
    for (auto i = static_cast<size_t>(part.begin); i < static_cast<size_t>(part.end); ++i, from += size) {
      CHECK(!seen[i] || std::memcmp(from, &whole[i * size], size) == 0, "rank {} differs in {}[{}]", rank, part.tensor,
            i);
      std::memcpy(&whole[i * size], from, size);
      seen[i] = true;
    }
  }
}

std::map<std::string, std::vector<std::byte>> WorldState::take() {
  for (const auto& [tensor, seen] : seen_) {
    for (const bool element : seen) CHECK(element, "no rank holds all of {}", tensor);
  }
  state_.erase("micro_step");
  return std::move(state_);
}

WorldRun run_world(const RunConfig& config, const Corpus& corpus, const Mesh& mesh, int64_t steps,
                   const MachineOptions& options) {
  ThreadWorld world(mesh.ranks());
  Collector collector;
  world.run([&](Communicator& rank) { run_rank(config, corpus, mesh, steps, options, rank, collector); });
  return collector.take();
}

std::vector<std::string> differences(const WorldRun& a, const WorldRun& b) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : a.state) {
    const auto other = b.state.find(name);
    if (other == b.state.end() || other->second != bytes) names.push_back(name);
  }
  for (const auto& [name, bytes] : b.state) {
    if (!a.state.contains(name)) names.push_back(name);
  }
  if (a.metrics != b.metrics) names.emplace_back("metrics");
  return names;
}

}  // namespace centavo::testing
