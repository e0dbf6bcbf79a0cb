#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/parallel.h"
#include "ops/linear/product.h"
#include "ops/lm_head_loss/lm_head_loss.h"
#include "ops/lm_head_loss/score.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;

enum In : size_t { kH, kWeight, kTargets };
enum Out : size_t { kLoss, kCount, kDh, kDweight };

// What is known when the program is.
struct Plan {
  int64_t tokens, columns, vocab, chunk;
  DType compute, accumulator, gradient;
  DType
      dlogits;  // as they are stored: in the memory of the logits, bf16 each row at the start of the row it comes from
  bool wants_dh, wants_dweight;
  Bind loss, count, dweight;

  int64_t chunks() const { return (tokens + chunk - 1) / chunk; }
  int64_t tokens_of(int64_t i) const { return std::min(chunk, tokens - i * chunk); }
  int64_t dlogits_stride() const { return dlogits == accumulator ? 0 : 2 * vocab; }
  bool wants_gradient() const { return wants_dh || wants_dweight; }
  // dweight is summed in the workspace and rounded at the end, not in its own memory.
  bool sums_apart() const { return wants_dweight && gradient != accumulator; }
};

Plan plan_of(const OpView& v) {
  const bool wants_dweight = v.has_output(kDweight);
  const DType compute = v.input(kH).dtype;
  const DType accumulator = accumulator_of(compute);
  return {.tokens = v.in(kH)[0],
          .columns = v.in(kH)[1],
          .vocab = v.in(kWeight)[0],
          .chunk = std::min(v.whole("chunk"), v.in(kH)[0]),
          .compute = compute,
          .accumulator = accumulator,
          .gradient = wants_dweight ? v.output(kDweight).dtype : accumulator,
          .dlogits = compute == DType::bf16 && cpu_multiplies_bf16() ? DType::bf16 : accumulator,
          .wants_dh = v.has_output(kDh),
          .wants_dweight = wants_dweight,
          .loss = v.op().outputs[kLoss].bind,
          .count = v.op().outputs[kCount].bind,
          .dweight = wants_dweight ? v.op().outputs[kDweight].bind : Bind::write};
}

ProductSpec logits_spec(const Plan& p, int64_t n) {
  return {
      .m = n, .n = p.vocab, .k = p.columns, .transpose_b = true, .a = p.compute, .b = p.compute, .c = p.accumulator};
}

ProductSpec dh_spec(const Plan& p, int64_t n) {
  return {.m = n,
          .n = p.columns,
          .k = p.vocab,
          .a = p.dlogits,
          .b = p.compute,
          .c = p.compute,
          .a_stride = p.dlogits_stride()};
}

ProductSpec dweight_spec(const Plan& p, int64_t n, Bind bind) {
  return {.m = p.vocab,
          .n = p.columns,
          .k = n,
          .transpose_a = true,
          .a = p.dlogits,
          .b = p.compute,
          .c = p.accumulator,
          .bind = bind,
          .a_stride = p.dlogits_stride()};
}

Bind dweight_bind(const Plan& p, int64_t i) {
  if (i > 0) return Bind::add;
  return p.sums_apart() ? Bind::write : p.dweight;
}

struct ChunkProducts {
  Product logits;
  std::optional<Product> dh, dweight;
};

ChunkProducts chunk_products(const Plan& p, int64_t i) {
  const int64_t n = p.tokens_of(i);
  ChunkProducts products{Product(logits_spec(p, n)), {}, {}};
  if (p.wants_dh) products.dh.emplace(dh_spec(p, n));
  if (p.wants_dweight) products.dweight.emplace(dweight_spec(p, n, dweight_bind(p, i)));
  return products;
}

int64_t chunk_scratch_bytes(const Plan& p, int64_t i) {
  const int64_t n = p.tokens_of(i);
  int64_t bytes = Product::workspace_bytes(logits_spec(p, n));
  if (p.wants_dh) bytes = std::max(bytes, Product::workspace_bytes(dh_spec(p, n)));
  if (p.wants_dweight) bytes = std::max(bytes, Product::workspace_bytes(dweight_spec(p, n, dweight_bind(p, i))));
  return bytes;
}

// Chunks differ in three ways at most: the first may write dweight, the last may be shorter.
std::vector<int64_t> distinct_chunks(const Plan& p) {
  const int64_t last = p.chunks() - 1;
  std::vector<int64_t> chunks = {0};
  if (last > 1) chunks.push_back(1);
  if (last > 0) chunks.push_back(last);
  return chunks;
}

// Where each part of the workspace starts, in bytes; `end` is its size.
struct Layout {
  int64_t logits = 0;   // A [chunk, V]
  int64_t losses = 0;   // f64 [N]
  int64_t dweight = 0;  // A [V, C], only where sums_apart
  int64_t scratch = 0;  // of one product at a time
  int64_t end = 0;
};

Layout layout(const Plan& p) {
  Layout l;
  l.losses = align_up(p.chunk * p.vocab * size_of(p.accumulator));
  l.dweight = l.losses + align_up(p.tokens * size_of(DType::f64));
  l.scratch = l.dweight + (p.sums_apart() ? align_up(p.vocab * p.columns * size_of(p.accumulator)) : 0);
  int64_t scratch = 0;
  for (const int64_t i : distinct_chunks(p)) scratch = std::max(scratch, chunk_scratch_bytes(p, i));
  l.end = l.scratch + align_up(scratch);
  return l;
}

struct Prepared {
  explicit Prepared(const OpView& view) : plan(plan_of(view)), at(layout(plan)) {
    for (const int64_t i : distinct_chunks(plan)) products.push_back(chunk_products(plan, i));
  }

  const ChunkProducts& products_of(int64_t i) const {
    if (i == 0) return products.front();
    return i == plan.chunks() - 1 ? products.back() : products[1];
  }

  Plan plan;
  Layout at;
  std::vector<ChunkProducts> products;  // of the distinct chunks
};

bool is_counted(int32_t target, int64_t vocab) { return target >= 0 && target < vocab; }

// Rounds the gradient to bf16, tile by tile: what is overwritten has been read.
void round_row(float* row, int64_t size, DType stored) {
  constexpr int64_t kTile = 512;
  bf16 tile[kTile];
  for (int64_t begin = 0; begin < size; begin += kTile) {
    const int64_t n = std::min(kTile, size - begin);
    for (int64_t v = 0; v < n; ++v) tile[v] = bf16(row[begin + v]);
    if (stored == DType::bf16) {
      std::memcpy(reinterpret_cast<char*>(row) + 2 * begin, tile, static_cast<size_t>(2 * n));
    } else {
      for (int64_t v = 0; v < n; ++v) row[begin + v] = static_cast<float>(tile[v]);
    }
  }
}

template <class A>
void differentiate(const Plan& p, A* row, int64_t target, double sum) {
  differentiate_row(row, p.vocab, target, sum);
  if constexpr (std::is_same_v<A, float>) {
    if (p.compute == DType::bf16) round_row(row, p.vocab, p.dlogits);
  }
}

// One chunk's logits become row losses, and their own gradient where it is wanted.
template <class A>
void score_chunk(const Plan& p, const int32_t* targets, int64_t n, A* logits, double* losses) {
  parallel_for(n, 1, [&](int64_t r) {
    A* row = logits + r * p.vocab;
    if (is_counted(targets[r], p.vocab)) {
      const Score result = score(row, p.vocab, targets[r]);
      losses[r] = result.loss;
      if (p.wants_gradient()) differentiate(p, row, targets[r], result.sum);
    } else if (p.wants_gradient()) {
      std::fill(row, row + p.vocab, A(0));
    }
  });
}

template <class T>
void run_chunk(const Prepared& prepared, int64_t i, const CpuCall& call) {
  using A = Accumulator<T>;
  const Plan& p = prepared.plan;
  const Layout& at = prepared.at;
  const ChunkProducts& products = prepared.products_of(i);
  char* workspace = static_cast<char*>(call.workspace);
  A* logits = reinterpret_cast<A*>(workspace + at.logits);
  double* losses = reinterpret_cast<double*>(workspace + at.losses);
  void* scratch = workspace + at.scratch;
  const int64_t first = i * p.chunk;
  const T* h = call.in<T>(kH) + first * p.columns;
  const T* weight = call.in<T>(kWeight);

  products.logits.run(h, weight, logits, scratch);
  score_chunk(p, call.in<int32_t>(kTargets) + first, p.tokens_of(i), logits, losses + first);
  if (products.dh) products.dh->run(logits, weight, call.out<T>(kDh) + first * p.columns, scratch);
  void* dweight = p.sums_apart() ? workspace + at.dweight : call.out<void>(kDweight);
  if (products.dweight) products.dweight->run(logits, h, dweight, scratch);
}

// The accumulated dweight to its own dtype, with one rounding.
template <class A, class G>
void round_dweight(const A* sums, int64_t count, Bind bind, G* dweight) {
  parallel_for(count, kElementsPerThread, [&](int64_t i) {
    const A before = bind == Bind::add ? convert<A>(dweight[i]) : A(0);
    dweight[i] = convert<G>(before + sums[i]);
  });
}

// In token order, on one thread.
template <class A>
void sum_losses(const Plan& p, const int32_t* targets, const double* losses, A* loss, int32_t* count) {
  double sum = p.loss == Bind::add ? static_cast<double>(*loss) : 0.0;
  int32_t counted = p.count == Bind::add ? *count : 0;
  for (int64_t n = 0; n < p.tokens; ++n) {
    if (!is_counted(targets[n], p.vocab)) continue;
    sum += losses[n];
    ++counted;
  }
  *loss = static_cast<A>(sum);
  *count = counted;
}

template <class T, class G>
void run(const Prepared& prepared, const CpuCall& call) {
  using A = Accumulator<T>;
  const Plan& p = prepared.plan;
  const char* workspace = static_cast<const char*>(call.workspace);
  for (int64_t i = 0; i < p.chunks(); ++i) run_chunk<T>(prepared, i, call);
  if (p.sums_apart()) {
    const A* sums = reinterpret_cast<const A*>(workspace + prepared.at.dweight);
    round_dweight(sums, p.vocab * p.columns, p.dweight, call.out<G>(kDweight));
  }
  const double* losses = reinterpret_cast<const double*>(workspace + prepared.at.losses);
  sum_losses(p, call.in<int32_t>(kTargets), losses, call.out<A>(kLoss), call.out<int32_t>(kCount));
}

}  // namespace

int64_t lm_head_loss_cpu_workspace(const OpView& v, const CpuTraits&) { return layout(plan_of(v)).end; }

CpuKernel lm_head_loss_cpu(const OpView& v, const CpuTraits&) {
  // Shared, because a CpuKernel must be copyable and products are not.
  const auto prepared = std::make_shared<const Prepared>(v);
  return visit_compute(prepared->plan.compute, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return visit_compute(prepared->plan.gradient, [&](auto gradient_tag) -> CpuKernel {
      using G = typename decltype(gradient_tag)::type;
      return [prepared](const CpuCall& call) { run<T, G>(*prepared, call); };
    });
  });
}

}  // namespace centavo
