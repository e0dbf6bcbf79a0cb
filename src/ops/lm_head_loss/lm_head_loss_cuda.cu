// Chunks of tokens, one behind the other: a product gives the chunk's logits, one kernel scores its rows and turns them
// into their gradient (score_cuda.h), two products give dh and dweight. One block adds the row losses at the end: 8
// bytes and a target read for each token.

#include <memory>
#include <numeric>
#include <optional>

#include "ops/cuda/device.cuh"
#include "ops/linear/product_cuda.h"
#include "ops/lm_head_loss/lm_head_loss.h"
#include "ops/lm_head_loss/score_cuda.h"

namespace centavo {
namespace {

enum In : size_t { kH, kWeight, kTargets };
enum Out : size_t { kLoss, kCount, kDh, kDweight };

constexpr int kSumThreads = 1024;

// What is known when the program is. The gradient of the logits is stored as they are, in the same memory.
struct Plan {
  int64_t tokens, columns, vocab, chunk;
  DType compute, gradient;
  bool wants_dh, wants_dweight;
  Bind loss, count, dweight;
  int64_t h_alignment, weight_alignment, dh_alignment, dweight_alignment;  // of every chunk's first row

  int64_t chunks() const { return ceil_div(tokens, chunk); }
  int64_t tokens_of(int64_t i) const { return std::min(chunk, tokens - i * chunk); }
  // Rounded to its output once, dweight is summed elsewhere when it is bf16 and its output cannot hold the sum: when
  // several chunks add up, or when the product of f32 is f32.
  bool sums_apart() const { return wants_dweight && gradient != DType::f32 && (chunks() > 1 || compute == DType::f32); }
};

Plan plan_of(const OpView& v) {
  const DType compute = v.input(kH).dtype;
  const bool wants_dh = v.has_output(kDh);
  const bool wants_dweight = v.has_output(kDweight);
  const int64_t chunk = std::min(v.whole("chunk"), v.in(kH)[0]);
  const int64_t chunk_bytes = chunk * v.in(kH)[1] * size_of(compute);
  const auto output = [&](size_t i) { return alignment_of(v.program(), v.op().outputs[i].buffer); };
  return {.tokens = v.in(kH)[0],
          .columns = v.in(kH)[1],
          .vocab = v.in(kWeight)[0],
          .chunk = chunk,
          .compute = compute,
          .gradient = wants_dweight ? v.output(kDweight).dtype : DType::f32,
          .wants_dh = wants_dh,
          .wants_dweight = wants_dweight,
          .loss = v.op().outputs[kLoss].bind,
          .count = v.op().outputs[kCount].bind,
          .dweight = wants_dweight ? v.op().outputs[kDweight].bind : Bind::write,
          .h_alignment = std::gcd(alignment_of(v.program(), v.op().inputs[kH]), chunk_bytes),
          .weight_alignment = alignment_of(v.program(), v.op().inputs[kWeight]),
          .dh_alignment = wants_dh ? std::gcd(output(kDh), chunk_bytes) : kAlignment,
          .dweight_alignment = wants_dweight ? output(kDweight) : kAlignment};
}

// --- the three products of a chunk of n tokens

ProductSpec logits_spec(const Plan& p, int64_t n) {
  return {.m = n, .n = p.vocab, .k = p.columns, .transpose_b = true, .a = p.compute, .b = p.compute, .c = p.compute};
}

CudaProduct logits_product(const Plan& p, int64_t n, const CudaTraits& traits) {
  return {logits_spec(p, n),
          {.c_stride = logits_stride(p.vocab), .a_alignment = p.h_alignment, .b_alignment = p.weight_alignment},
          traits};
}

CudaProduct dh_product(const Plan& p, int64_t n, const CudaTraits& traits) {
  return {{.m = n,
           .n = p.columns,
           .k = p.vocab,
           .a = p.compute,
           .b = p.compute,
           .c = p.compute,
           .a_stride = logits_stride(p.vocab)},
          {.b_alignment = p.weight_alignment, .c_alignment = p.dh_alignment},
          traits};
}

CudaProduct dweight_product(const Plan& p, int64_t n, Bind bind, const CudaTraits& traits) {
  return {{.m = p.vocab,
           .n = p.columns,
           .k = n,
           .transpose_a = true,
           .a = p.compute,
           .b = p.compute,
           .c = p.sums_apart() ? DType::f32 : p.gradient,
           .bind = bind,
           .a_stride = logits_stride(p.vocab)},
          {.b_alignment = p.h_alignment, .c_alignment = p.sums_apart() ? kAlignment : p.dweight_alignment},
          traits};
}

Bind dweight_bind(const Plan& p, int64_t i) {
  if (i > 0) return Bind::add;
  return p.sums_apart() ? Bind::write : p.dweight;
}

struct ChunkProducts {
  CudaProduct logits;
  std::optional<CudaProduct> dh, dweight;
};

ChunkProducts chunk_products(const Plan& p, int64_t i, const CudaTraits& traits) {
  const int64_t n = p.tokens_of(i);
  ChunkProducts products{logits_product(p, n, traits), {}, {}};
  if (p.wants_dh) products.dh = dh_product(p, n, traits);
  if (p.wants_dweight) products.dweight = dweight_product(p, n, dweight_bind(p, i), traits);
  return products;
}

// Where each part of the workspace starts, in bytes; `end` is its size.
struct Layout {
  int64_t logits = 0;   // T [chunk, logits_stride]
  int64_t losses = 0;   // f64 [N]
  int64_t dweight = 0;  // f32 [V, C], only where sums_apart
  int64_t scratch = 0;  // of one product at a time
  int64_t end = 0;
};

Layout layout(const Plan& p, const CudaTraits& traits) {
  Layout l;
  l.losses = p.chunk * logits_stride(p.vocab) * size_of(p.compute);
  l.dweight = l.losses + align_up(p.tokens * size_of(DType::f64));
  l.scratch = l.dweight + (p.sums_apart() ? align_up(p.vocab * p.columns * size_of(DType::f32)) : 0);
  l.end = l.scratch + CudaProduct::workspace_bytes(logits_spec(p, p.chunk), traits);
  return l;
}

struct Prepared {
  Prepared(const OpView& view, const CudaTraits& traits)
      : plan(plan_of(view)),
        at(layout(plan, traits)),
        scorer(plan.compute, plan.vocab, plan.wants_dh || plan.wants_dweight) {
    // Chunks differ in three ways at most: the first may write dweight, the last may be shorter.
    const int64_t last = plan.chunks() - 1;
    products.push_back(chunk_products(plan, 0, traits));
    if (last > 1) products.push_back(chunk_products(plan, 1, traits));
    if (last > 0) products.push_back(chunk_products(plan, last, traits));
  }

  const ChunkProducts& products_of(int64_t i) const {
    if (i == 0) return products.front();
    return i == plan.chunks() - 1 ? products.back() : products[1];
  }

  Plan plan;
  Layout at;
  RowScorer scorer;
  std::vector<ChunkProducts> products;
};

template <class V>
__device__ V sum_over_block(V value, V* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int apart = kSumThreads / 2; apart > 0; apart /= 2) {
    if (threadIdx.x < apart) shared[threadIdx.x] += shared[threadIdx.x + apart];
    __syncthreads();
  }
  return shared[0];
}

// One block; the losses of tokens that are not counted are 0.
__global__ void __launch_bounds__(kSumThreads)
    sum_losses(const double* losses, const int32_t* targets, int64_t tokens, int64_t vocab, bool adds_loss,
               bool adds_count, float* loss, int32_t* count) {
  __shared__ double sums[kSumThreads];
  __shared__ int32_t counts[kSumThreads];
  double sum = 0;
  int32_t counted = 0;
  for (int64_t n = threadIdx.x; n < tokens; n += kSumThreads) {
    sum += losses[n];
    counted += targets[n] >= 0 && targets[n] < vocab ? 1 : 0;
  }
  sum = sum_over_block(sum, sums);
  counted = sum_over_block(counted, counts);
  if (threadIdx.x != 0) return;
  *loss = static_cast<float>((adds_loss ? static_cast<double>(*loss) : 0.0) + sum);
  *count = (adds_count ? *count : 0) + counted;
}

void run_chunk(const Prepared& prepared, int64_t i, const CudaCall& call) {
  const Plan& p = prepared.plan;
  const Layout& at = prepared.at;
  const ChunkProducts& products = prepared.products_of(i);
  char* workspace = static_cast<char*>(call.workspace);
  void* logits = workspace + at.logits;
  void* scratch = workspace + at.scratch;
  const int64_t first = i * p.chunk;
  const int64_t first_byte = first * p.columns * size_of(p.compute);
  const char* h = call.in<char>(kH) + first_byte;
  const char* weight = call.in<char>(kWeight);

  products.logits.run({.a = h, .b = weight, .c = logits}, scratch, call.stream);
  double* losses = reinterpret_cast<double*>(workspace + at.losses) + first;
  prepared.scorer.run(logits, call.in<int32_t>(kTargets) + first, p.tokens_of(i), losses, call.stream);
  if (products.dh) {
    products.dh->run({.a = logits, .b = weight, .c = call.out<char>(kDh) + first_byte}, scratch, call.stream);
  }
  void* dweight = p.sums_apart() ? workspace + at.dweight : call.out<void>(kDweight);
  if (products.dweight) products.dweight->run({.a = logits, .b = h, .c = dweight}, scratch, call.stream);
}

void run(const Prepared& prepared, const CudaCall& call) {
  const Plan& p = prepared.plan;
  const char* workspace = static_cast<const char*>(call.workspace);
  for (int64_t i = 0; i < p.chunks(); ++i) run_chunk(prepared, i, call);
  if (p.sums_apart()) {
    const float* sums = reinterpret_cast<const float*>(workspace + prepared.at.dweight);
    round_sums(sums, p.vocab * p.columns, p.gradient, p.dweight, call.out<void>(kDweight), call.stream);
  }
  sum_losses<<<1, kSumThreads, 0, call.stream>>>(
      reinterpret_cast<const double*>(workspace + prepared.at.losses), call.in<int32_t>(kTargets), p.tokens, p.vocab,
      p.loss == Bind::add, p.count == Bind::add, call.out<float>(kLoss), call.out<int32_t>(kCount));
  check_launch("summing losses");
}

}  // namespace

int64_t lm_head_loss_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return layout(plan_of(v), traits).end;
}

CudaKernel lm_head_loss_cuda(const OpView& v, const CudaTraits& traits) {
  const auto prepared = std::make_shared<const Prepared>(v, traits);
  return [prepared](const CudaCall& call) { run(*prepared, call); };
}

}  // namespace centavo
