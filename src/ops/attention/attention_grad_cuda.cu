// Four kernels: the tables of tiles; delta and lse by rows of tiles; dk and dv by tiles of keys; dq by tiles of queries
// (attention_grad_tensor.cuh, attention_grad_simt.cuh). No sum is shared by blocks, so there is one order. delta reads
// dy and y once, the last two read dy and qkv once from memory and again from the cache behind it.
#include <limits>

#include "ops/attention/attention_cuda.h"
#include "ops/attention/attention_grad_simt.cuh"
#include "ops/attention/attention_grad_tensor.cuh"
#include "ops/attention/launch_cuda.cuh"

namespace centavo {

using namespace flash;

namespace {

constexpr int kDeltaThreads = 256;

template <class T>
struct DeltaArgs {
  Heads heads;
  const T* dy;
  const T* y;
  const float* lse;
  float* lse_log2;  // [K, N, H / K]
  float* delta;     // [K, N, H / K]
};

// kLanes threads sum a row of one token and head, in vectors or element by element.
template <class T, int kLanes, bool kVectors>
__global__ void __launch_bounds__(kDeltaThreads) attention_delta(DeltaArgs<T> args) {
  const int64_t rows = static_cast<int64_t>(args.heads.tokens) * args.heads.heads;
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kDeltaThreads + threadIdx.x) / kLanes;
  const int lane = threadIdx.x % kLanes;
  const int32_t head_size = args.heads.head_size;
  float sum = 0;
  if (row < rows) {
    const T* dy = args.dy + row * head_size;
    const T* y = args.y + row * head_size;
    if constexpr (kVectors) {
      for (int32_t c = lane * Vec<T>::size; c < head_size; c += kLanes * Vec<T>::size) {
        const Vec<T> a = Vec<T>::load(dy + c);
        const Vec<T> b = Vec<T>::load_streaming(y + c);
#pragma unroll
        for (int i = 0; i < Vec<T>::size; ++i) sum += to_float(a.at[i]) * to_float(b.at[i]);
      }
    } else {
      for (int32_t c = lane; c < head_size; c += kLanes) sum += to_float(dy[c]) * to_float(y[c]);
    }
  }
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
  if (row >= rows || lane != 0) return;
  const int64_t token = row / args.heads.heads;
  const int32_t head = static_cast<int32_t>(row % args.heads.heads);
  const int32_t group = static_cast<int32_t>(args.heads.group.divisor);
  const int64_t at = (static_cast<int64_t>(head / group) * args.heads.tokens + token) * group + head % group;
  args.delta[at] = sum;
  args.lse_log2[at] = args.lse[static_cast<int64_t>(head) * args.heads.tokens + token] * kLog2e;
}

template <class T>
void launch_delta(const DeltaArgs<T>& args, bool in_vectors, CUstream_st* stream) {
  constexpr int kVectorLanes = 8;
  constexpr int kLanes = 32;
  const int64_t rows = static_cast<int64_t>(args.heads.tokens) * args.heads.heads;
  const auto kernel = in_vectors ? attention_delta<T, kVectorLanes, true> : attention_delta<T, kLanes, false>;
  const int64_t blocks = ceil_div(rows * (in_vectors ? kVectorLanes : kLanes), kDeltaThreads);
  kernel<<<static_cast<uint32_t>(blocks), kDeltaThreads, 0, stream>>>(args);
  check_launch("attention_delta");
}

// One way to run the op: the kernels that hold keys, one or two of them, and the one that holds queries.
template <class T>
struct Way {
  TileKernel<BackwardArgs<T>> keys, more_keys, queries;
  TileTable key_table, query_table;
};

template <class T>
Way<T> simt_kernels(int64_t head_size) {
  return visit_simt(head_size, [](auto shape) -> Way<T> {
    using Shape = decltype(shape);
    const auto of = [](const char* name, void (*kernel)(BackwardArgs<T>)) -> TileKernel<BackwardArgs<T>> {
      return {.name = name,
              .kernel = kernel,
              .threads = kSimtThreads,
              .shared_bytes = (4 * Shape::kOperand + Shape::kWeights) * static_cast<int>(sizeof(float)),
              .tile_rows = Shape::kTile};
    };
    Way<T> way;
    way.keys = of("attention_grad_keys_simt", attention_grad_keys_simt<T, Shape>);
    way.queries = of("attention_grad_queries_simt", attention_grad_queries_simt<T, Shape>);
    return way;
  });
}

// Registers hold the sums of dk and dv together up to heads of 128.
Way<__nv_bfloat16> tensor_kernels(int64_t head_size) {
  return visit_tensor(head_size, [](auto d) -> Way<__nv_bfloat16> {
    constexpr int kD = decltype(d)::value;
    using Shape = BackwardShape<kD>;
    const auto of = [](const char* name, void (*kernel)(BackwardArgs<__nv_bfloat16>),
                       int shared_bytes) -> TileKernel<BackwardArgs<__nv_bfloat16>> {
      return {.name = name,
              .kernel = kernel,
              .threads = Shape::kThreads,
              .shared_bytes = shared_bytes,
              .tile_rows = Shape::kRows};
    };
    Way<__nv_bfloat16> way;
    if constexpr (kD <= 128) {
      way.keys = of("attention_grad_keys", attention_grad_keys<kD, KeySums::dk_and_dv>, Shape::kKeyTilesBytes);
    } else {
      way.keys = of("attention_grad_keys", attention_grad_keys<kD, KeySums::dk>, Shape::kKeyTilesBytes);
      way.more_keys = of("attention_grad_keys", attention_grad_keys<kD, KeySums::dv>, Shape::kKeyTilesBytes);
    }
    way.queries = of("attention_grad_queries", attention_grad_queries<kD>, Shape::kQueryTilesBytes);
    return way;
  });
}

// Tiles that meet most others first: the first keys are seen by all later queries, the last queries see all keys.
template <class T>
Way<T> prepared(const AttentionSizes& sizes, Way<T> way) {
  way.keys.prepare();
  if (way.more_keys.kernel != nullptr) way.more_keys.prepare();
  way.queries.prepare();
  way.key_table = table_of(sizes, 1, way.keys.tile_rows, TileOrder::first_tile_first);
  way.query_table = table_of(sizes, sizes.group(), way.queries.tile_rows, TileOrder::last_tile_first);
  return way;
}

struct WorkspaceBytes {
  int64_t statistic;  // of lse and of delta
  int64_t key_table, query_table;
  int64_t all() const { return 2 * statistic + key_table + query_table; }
};

// The plain kernels have the smaller tiles, so the larger tables.
WorkspaceBytes workspace_bytes(const AttentionSizes& s) {
  const int64_t tile_rows = std::min<int64_t>(simt_tile_rows(s.head_size), 64);
  const auto table = [&](int64_t rows_per_token) {
    return table_bytes(s.documents, tile_capacity(s.tokens, s.documents, rows_per_token, tile_rows));
  };
  return {.statistic = ceil_div(s.tokens * s.heads * static_cast<int64_t>(sizeof(float)), 16) * 16,
          .key_table = table(1),
          .query_table = table(s.group())};
}

template <class T>
struct AttentionGrad {
  AttentionSizes sizes;
  Way<T> simt, tensor;  // tensor has no kernels where rows are no vectors

  void run(const CudaCall& call) const {
    const WorkspaceBytes bytes = workspace_bytes(sizes);
    char* memory = static_cast<char*>(call.workspace);
    float* lse_log2 = reinterpret_cast<float*>(memory);
    float* delta = reinterpret_cast<float*>(memory + bytes.statistic);
    char* tables = memory + 2 * bytes.statistic;
    const BackwardArgs<T> args{.heads = heads_of(sizes),
                               .dy = call.in<T>(0),
                               .qkv = call.in<T>(1),
                               .lse_log2 = lse_log2,
                               .delta = delta,
                               .dqkv = call.out<T>(0)};
    const bool in_vectors = sizes.head_size * sizeof(T) % 16 == 0 && is_aligned(args.dy) && is_aligned(args.qkv) &&
                            is_aligned(call.in<T>(2)) && is_aligned(args.dqkv);
    launch_delta<T>({args.heads, args.dy, call.in<T>(2), call.in<float>(3), lse_log2, delta}, in_vectors, call.stream);
    const Way<T>& way = in_vectors && tensor.keys.kernel != nullptr ? tensor : simt;
    const TileTable key_table = table_at(way.key_table, sizes.documents, tables);
    const TileTable query_table = table_at(way.query_table, sizes.documents, tables + bytes.key_table);
    fill_tables(call.in<int32_t>(4), sizes.documents, sizes.tokens, key_table, query_table, call.stream);
    way.keys.launch(args, key_table, call.stream);
    if (way.more_keys.kernel != nullptr) way.more_keys.launch(args, key_table, call.stream);
    way.queries.launch(args, query_table, call.stream);
  }
};

}  // namespace

int64_t attention_grad_own_cuda_workspace(const OpView& v, const CudaTraits&) {
  return workspace_bytes(attention_sizes(v, 1, 4)).all();
}

CudaKernel attention_grad_own_cuda(const OpView& v, const CudaTraits&) {
  const AttentionSizes sizes = attention_sizes(v, 1, 4);
  CHECK(sizes.tokens <= kMostPositions, "attention_grad over {} tokens", sizes.tokens);
  if (sizes.tokens == 0) return [](const CudaCall&) {};
  return visit_cuda(v.input(1).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    AttentionGrad<T> grad{sizes, prepared(sizes, simt_kernels<T>(sizes.head_size)), {}};
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      if (has_vectors(DType::bf16, sizes.head_size)) {
        grad.tensor = prepared(sizes, tensor_kernels(sizes.head_size));
      }
    }
    return [=](const CudaCall& call) { grad.run(call); };
  });
}

}  // namespace centavo
