#include "train/memory_fit.h"

#include <string>
#include <vector>

#include "base/errors.h"
#include "passes/place.h"
#include "train/generate.h"
#include "train/step_program.h"

namespace centavo {
namespace {

constexpr int64_t kReserveBytes = 64 << 20;
constexpr size_t kMostPlans = 2;
constexpr int64_t kSmallLossChunk = 128;

int64_t arenas_of(const Program& program) {
  int64_t bytes = 0;
  for (const auto& [home, arena] : program.arena_bytes) bytes += arena;
  return bytes;
}

int64_t sampler_arenas(const OpTable& ops, const RunConfig& config, const Worker& worker) {
  if (config.sample_tokens == 0) return 0;
  const GenerationPrograms programs = sampling_programs(ops, config, worker);
  return arenas_of(programs.decode) + arenas_of(programs.prefill);
}

std::string mebibytes(int64_t bytes) { return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / (1 << 20)); }

class Fit {
 public:
  Fit(const OpTable& ops, const RunConfig& config, const Worker& worker, int64_t available)
      : ops_(ops), worker_(worker), available_(available), sampler_bytes_(sampler_arenas(ops, config, worker)) {}

  int64_t needed(const RunConfig& config, const Program& training) const {
    const int64_t evaluation =
        config.validation_every > 0 ? arenas_of(validation_program(ops_, config, worker_)) : int64_t{0};
    return arenas_of(training) + evaluation + sampler_bytes_ + kReserveBytes;
  }
  int64_t needed(const RunConfig& config) const { return needed(config, training_program(ops_, config, worker_)); }

  // Nearest first; each with the same number of tokens per step.
  std::vector<std::string> plans(RunConfig config) const {
    std::vector<std::string> found;
    const auto keep_if_it_fits = [&](const std::string& keys) {
      const int64_t bytes = needed(config);
      if (bytes <= available_) found.push_back(fmt::format("{} needs {}", keys, mebibytes(bytes)));
    };
    while (found.size() < kMostPlans && config.micro_batch % 2 == 0) {
      config.micro_batch /= 2;
      config.grad_accum_steps *= 2;
      keep_if_it_fits(fmt::format("micro_batch={} grad_accum_steps={}", config.micro_batch, config.grad_accum_steps));
    }
    if (found.empty() && config.loss_chunk > kSmallLossChunk) {
      config.loss_chunk = kSmallLossChunk;
      keep_if_it_fits(fmt::format("micro_batch={} grad_accum_steps={} loss_chunk={}", config.micro_batch,
                                  config.grad_accum_steps, config.loss_chunk));
    }
    return found;
  }

 private:
  const OpTable& ops_;
  Worker worker_;
  int64_t available_;
  int64_t sampler_bytes_;  // the same for every micro-batch
};

}  // namespace

void require_memory(const OpTable& ops, const RunConfig& config, const Worker& worker, const Program& training,
                    int64_t available_bytes) {
  const Fit fit(ops, config, worker, available_bytes);
  const int64_t needed = fit.needed(config, training);
  if (needed <= available_bytes) return;
  const std::vector<std::string> plans = fit.plans(config);
  std::string advice = plans.empty() ? "no smaller micro_batch fits: use a smaller model or seq_len" : "these fit:";
  for (const std::string& plan : plans) advice += "\n  " + plan;
  throw OutOfMemory(fmt::format("the run needs {} of memory and {} are free; {}\nby region:{}", mebibytes(needed),
                                mebibytes(available_bytes), advice, region_table(training)));
}

}  // namespace centavo
