#include "train/plan_text.h"

#include <algorithm>

#include "machine/cpu/cpu_machine.h"
#include "model/hf/family.h"
#include "passes/place.h"
#include "passes/units.h"
#include "program/verify.h"
#include "train/fit.h"
#include "train/generate.h"
#include "train/memory_fit.h"
#include "train/run_data.h"
#include "train/step_program.h"
#include "train/throughput.h"

namespace centavo {
namespace {

std::string mebibytes(int64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

// The programs beside the training step.
void verify_others(const OpTable& ops, const RunConfig& config, const Worker& worker) {
  if (config.validation_every > 0) verify(validation_program(ops, config, worker), ops);
  if (config.sample_tokens == 0) return;
  const GenerationPrograms samples = sampling_programs(ops, config, worker);
  verify(samples.decode, ops);
  verify(samples.prefill, ops);
}

std::string counted(int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string device_text(const Worker& worker) {
  return worker.device == DeviceKind::cuda ? "on the GPU" : fmt::format("{} threads", worker.threads);
}

}  // namespace

int64_t parameter_count(const Program& program) {
  const std::vector<BufferId> units = unit_buffers(program);
  int64_t parameters = 0;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    const bool flat = b.shard || std::ranges::count(units, static_cast<BufferId>(i)) > 0;
    if (b.kind == BufferKind::parameter && !flat) parameters += b.elements();
  }
  return parameters;
}

std::vector<std::string> plan_lines(const RunConfig& c, const Program& training, const Worker& worker,
                                    const Machine* machine) {
  const int64_t ranks = worker.mesh.ranks();
  std::vector<std::string> lines = {
      fmt::format("model      {} parameters, {}, {}", parameter_count(training), c.precision, device_text(worker)),
      fmt::format("step       {} sequences of {} tokens in {}, {} steps", c.micro_batch * c.grad_accum_steps, c.seq_len,
                  counted(c.grad_accum_steps, "micro-batch", "micro-batches"), c.max_steps),
      fmt::format("memory     {} planned{}", mebibytes(training.arena_bytes.at(Home::device)),
                  ranks > 1 ? " on each rank" : "")};
  if (!worker.device_note.empty()) lines.push_back("device     " + worker.device_note);
  if (ranks > 1) {
    const int64_t shared = micro_batches_of(c, ranks);
    const std::string idle = shared * ranks == c.grad_accum_steps ? "" : ", the last ones empty on some";
    lines.insert(lines.begin() + 2,
                 fmt::format("ranks      {} on {} node{}, shard {}, sums as a {}; {} micro-batches each{}", ranks,
                             worker.mesh.nodes, worker.mesh.nodes == 1 ? "" : "s", c.shard, c.grad_sum, shared, idle));
  }
  for (const RegionBytes& region : regions(training)) {
    lines.push_back(fmt::format("           {:<16}{:>12}{}", name_of(region.kind), mebibytes(region.bytes),
                                region.shares ? "  before addresses are shared" : ""));
  }
  if (const auto host = training.arena_bytes.find(Home::host); host != training.arena_bytes.end()) {
    const std::string where =
        worker.device == DeviceKind::cuda ? "of the host's, beside it" : "beside it, a file in " + c.out;
    lines.push_back(fmt::format("           {:<16}{:>12}  {}", "offloaded", mebibytes(host->second), where));
  }
  if (c.model.positions == "learned" && c.model.max_position_embeddings > c.seq_len) {
    lines.push_back(
        fmt::format("positions  the first {0} of {1} are trained, the others stay random; give "
                    "model.max_position_embeddings = {0}, or a longer seq_len",
                    c.seq_len, c.model.max_position_embeddings));
  }
  if (const std::string why = why_not_exportable(c.model); !why.empty()) {
    lines.push_back(fmt::format("export     will be left out: {}", why));
  }
  if (worker.device == DeviceKind::cuda) {
    const std::string choice = machine == nullptr ? attention_choice(training, worker.gpu) : attention_choice(*machine);
    lines.push_back("attention  " + choice);
    const std::string fused = machine == nullptr ? "" : fused_choice(*machine);
    if (!fused.empty()) lines.push_back("products   " + fused);
  }
  return lines;
}

void require_work_for(const RunConfig& config, int64_t ranks) {
  if (ranks <= config.grad_accum_steps) return;
  const int64_t sequences = config.micro_batch * config.grad_accum_steps;
  const std::string same =
      sequences % ranks == 0 ? fmt::format(" (with micro_batch = {} the step stays as it is)", sequences / ranks) : "";
  user_error("a step has fewer micro-batches than there are ranks, {} and {}; set grad_accum_steps = {}{}, or use {}",
             config.grad_accum_steps, ranks, ranks, same, counted(config.grad_accum_steps, "rank", "ranks"));
}

Worker worker_here(const RunConfig& config, int64_t ranks) {
  const int64_t sharing = config.threads > 0 ? 1 : ranks;
  const auto threads = std::max<int64_t>(1, CpuMachine::thread_count(config.threads) / sharing);
  Worker worker(static_cast<int>(threads), Mesh{1, ranks}, 0);
  worker.use(config.device, config.deterministic);
  return worker;
}

std::vector<std::string> dry_run(const OpTable& ops, const RunConfig& c, int64_t ranks) {
  const Worker worker = worker_here(c, ranks);
  require_work_for(c, ranks);
  const Techniques techniques = fit(ops, c, worker);
  const Program training = training_program(ops, c, worker, techniques);
  verify(training, ops);
  verify_others(ops, c, worker);
  const int64_t available = available_bytes(worker.device) / ranks;
  require_memory(ops, c, worker, training, available);
  require_room_offloaded(worker, training, ranks, c.out);
  std::vector<std::string> lines = plan_lines(c, training, worker);
  lines.push_back(fmt::format("           {} free on this {}{}", mebibytes(available),
                              worker.device == DeviceKind::cuda ? "GPU" : "machine",
                              ranks > 1 ? " for each rank" : ""));
  if (const std::string table = techniques_table(ops, c, worker, techniques); !table.empty()) {
    lines.push_back("techniques" + table);
  }
  for (const std::string& line : look_at_run_data(c)) lines.push_back(line);
  const auto tokens = static_cast<double>(c.micro_batch * c.grad_accum_steps * c.seq_len);
  const double flops = run_step_flops(ops, c);
  const double steps = static_cast<double>(c.max_steps);
  lines.push_back(fmt::format("work       {:.3g} FLOP per step, {:.3g} in all for {:.3g} tokens", flops, flops * steps,
                              tokens * steps));
  if (worker.device == DeviceKind::cuda) return lines;
  const double peak = measured_peak_flops(c.precision, worker.threads) * static_cast<double>(ranks);
  lines.push_back(fmt::format("           at least {:.3g} s at this machine's measured peak of {:.3g} FLOP/s",
                              flops * steps / peak, peak));
  return lines;
}

}  // namespace centavo
