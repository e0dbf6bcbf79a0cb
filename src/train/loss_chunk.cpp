#include "train/loss_chunk.h"

#include <algorithm>

#include "machine/virtual/cost_source.h"
#include "passes/precision.h"

namespace centavo {
namespace {

// Of a GPU's attention, in products: an H200 reached 0.51 with 1024 tokens a sequence, 0.68 with 4096.
constexpr double kAttentionShare = 0.55;

// Tiles of dh, and chunks in whole rows of them.
constexpr int64_t kTileRows = 128;
constexpr int64_t kTileColumns = 256;

constexpr int64_t kLeastOfGpu = 1024;
constexpr int64_t kLeastOfCpu = 128;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t tokens_of(const RunConfig& c) { return c.micro_batch * c.seq_len; }

// Bytes that dweight's sums move beyond those of a single chunk.
double dweight_bytes(const RunConfig& c, int64_t chunks) {
  if (chunks == 1) return 0;
  const bool summed_apart = c.grad_sum == "chain" && precision_policy(c.precision).gradient == DType::bf16;
  const auto weights = static_cast<double>(c.model.vocab_size * c.model.hidden_size);
  return 8 * weights * static_cast<double>(chunks - 1 + (summed_apart ? 1 : 0));
}

// Of dh of `rows` tokens: operations that fit into the time of its waves and are not done.
double idle_flops(const RunConfig& c, const CudaTraits& gpu, int64_t rows) {
  const int64_t tiles = ceil_div(rows, kTileRows) * ceil_div(c.model.hidden_size, kTileColumns);
  const int64_t places = ceil_div(tiles, gpu.multiprocessors) * gpu.multiprocessors * kTileRows * kTileColumns;
  return 2.0 * static_cast<double>(c.model.vocab_size) * static_cast<double>(places - rows * c.model.hidden_size);
}

double idle_flops_of_chunks(const RunConfig& c, const Worker& worker, int64_t chunk) {
  if (worker.device == DeviceKind::cpu) return 0;
  const int64_t whole = tokens_of(c) / chunk;
  const int64_t rest = tokens_of(c) % chunk;
  return static_cast<double>(whole) * idle_flops(c, worker.gpu, chunk) +
         (rest > 0 ? idle_flops(c, worker.gpu, rest) : 0.0);
}

}  // namespace

MachineRates machine_rates(const Worker& worker, const std::string& precision) {
  if (worker.device == DeviceKind::cpu) return {};
  const Profile ceilings = prior_profile(worker.gpu, worker.gpu_name);
  const bool bf16 = precision_policy(precision).compute == DType::bf16;
  const double products = ceilings.product_flops.at(bf16 ? "bf16" : "f32");
  return {.flops_per_s = products,
          .attention_flops_per_s = kAttentionShare * products,
          .bytes_per_s = ceilings.copy_bytes_per_second};
}

LossChunk priced_loss_chunk(const RunConfig& config, const Worker& worker, int64_t tokens) {
  const MachineRates rates = machine_rates(worker, config.precision);
  const int64_t chunk = std::min(tokens, tokens_of(config));
  const double sums = dweight_bytes(config, ceil_div(tokens_of(config), chunk)) / rates.bytes_per_s;
  return {tokens, 1e6 * (sums + idle_flops_of_chunks(config, worker, chunk) / rates.flops_per_s)};
}

std::vector<LossChunk> loss_chunks(const RunConfig& config, const Worker& worker) {
  const bool gpu = worker.device == DeviceKind::cuda;
  const int64_t all = tokens_of(config);
  const int64_t most = gpu ? all : std::min(all, default_loss_chunk(worker.device));
  const int64_t least = gpu ? kLeastOfGpu : kLeastOfCpu;
  std::vector<LossChunk> chunks = {priced_loss_chunk(config, worker, most)};
  for (int64_t parts = 2; ceil_div(most, parts) >= least; parts *= 2) {
    const int64_t tokens = ceil_div(ceil_div(most, parts), kTileRows) * kTileRows;
    chunks.push_back(priced_loss_chunk(config, worker, tokens));
  }
  std::ranges::stable_sort(chunks, {}, &LossChunk::us);
  return chunks;
}

}  // namespace centavo
