#include "train/memory_fit.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "base/host.h"
#include "base/memory.h"
#include "passes/place.h"
#include "train/generate.h"
#include "train/step_program.h"

namespace centavo {
namespace {

constexpr int64_t kReserveBytes = 64 << 20;
constexpr size_t kMostPlans = 2;
constexpr int64_t kSmallLossChunk = 128;

// The arena of the host is a file, or memory of the host beside a GPU's.
int64_t arenas_of(const Program& program) { return program.arena_bytes.at(Home::device); }

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

  // Each with the same number of tokens per step: the largest smaller micro-batch, the cheapest recompute; where only
  // one of them fits, the next smaller micro-batch; where none does, everything together.
  std::vector<std::string> plans(const RunConfig& config) const {
    std::vector<std::string> found;
    RunConfig smaller = config;
    halve_until_it_fits(smaller, found);
    for (const char* mode : {"cheap", "attention", "full"}) {
      if (found.size() == kMostPlans || config.recompute != "none" || !config.memory.empty()) break;
      RunConfig replayed = config;
      replayed.recompute = mode;
      if (add_if_it_fits(replayed, fmt::format("recompute={}", mode), found)) break;
    }
    if (found.size() < kMostPlans) halve_until_it_fits(smaller, found);
    if (!found.empty()) return found;
    smaller.loss_chunk = std::min(loss_chunk_of(smaller, worker_.device), kSmallLossChunk);
    smaller.recompute = "full";
    smaller.offload = "all";
    smaller.memory.clear();
    add_if_it_fits(
        smaller,
        micro_batch_keys(smaller) + fmt::format(" loss_chunk={} recompute=full offload=all", smaller.loss_chunk),
        found);
    return found;
  }

 private:
  static std::string micro_batch_keys(const RunConfig& config) {
    return fmt::format("micro_batch={} grad_accum_steps={}", config.micro_batch, config.grad_accum_steps);
  }

  bool add_if_it_fits(const RunConfig& config, const std::string& keys, std::vector<std::string>& found) const {
    const int64_t bytes = needed(config);
    if (bytes <= available_) found.push_back(fmt::format("{} needs {}", keys, mebibytes(bytes)));
    return bytes <= available_;
  }

  void halve_until_it_fits(RunConfig& config, std::vector<std::string>& found) const {
    while (config.micro_batch % 2 == 0) {
      config.micro_batch /= 2;
      config.grad_accum_steps *= 2;
      if (add_if_it_fits(config, micro_batch_keys(config), found)) return;
    }
  }

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
  require_free_of_others(worker.device, "the run", needed);
  const std::vector<std::string> plans = fit.plans(config);
  std::string advice = plans.empty() ? "no smaller micro_batch fits, not with everything recomputed and offloaded "
                                       "either: use a smaller model or seq_len"
                                     : "these fit:";
  for (const std::string& plan : plans) advice += "\n  " + plan;
  throw OutOfMemory(fmt::format("the run needs {} of memory and {} are free; {}\nby region:{}", mebibytes(needed),
                                mebibytes(available_bytes), advice, region_table(training)));
}

void require_disk(const Program& training, int64_t ranks, const std::string& out, int64_t free_bytes) {
  const auto arena = training.arena_bytes.find(Home::host);
  const int64_t of_a_rank = arena == training.arena_bytes.end() ? 0 : arena->second;
  const int64_t needed = of_a_rank * ranks;
  if (needed <= free_bytes) return;
  const std::string files = ranks > 1 ? fmt::format("{} files of {}", ranks, mebibytes(of_a_rank)) : "a file";
  user_error(
      "what is offloaded takes {} of disk in {} ({}) and {} are free there; free some, choose a directory on "
      "another disk with out=DIR, or offload less",
      mebibytes(needed), out, files, mebibytes(free_bytes));
}

void require_room_offloaded(const Worker& worker, const Program& training, int64_t ranks, const std::string& out) {
  if (worker.device == DeviceKind::cpu) return require_disk(training, ranks, out, free_bytes_for(out));
  const auto arena = training.arena_bytes.find(Home::host);
  const int64_t needed = arena == training.arena_bytes.end() ? 0 : arena->second * ranks;
  const int64_t available = available_memory_bytes();
  if (needed <= available) return;
  user_error("what is offloaded takes {} of the host's memory and {} are free; offload less", mebibytes(needed),
             mebibytes(available));
}

int64_t free_bytes_for(const std::string& out) {
  std::filesystem::path place = std::filesystem::absolute(out);
  std::error_code unreadable;
  while (!std::filesystem::exists(place, unreadable) && place.has_relative_path()) place = place.parent_path();
  return free_disk_bytes(place.string());
}

}  // namespace centavo
