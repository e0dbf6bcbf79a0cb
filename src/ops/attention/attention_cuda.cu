// A table of tiles is found first; then a block takes one tile of queries of one key/value head (attention_tensor.cuh,
// attention_simt.cuh), the tiles that see most keys first. qkv is read once from memory and by each tile of queries
// from the cache behind it, y and lse are written once.
#include "ops/attention/attention_cuda.h"

#include <limits>

#include "ops/attention/attention_simt.cuh"
#include "ops/attention/attention_tensor.cuh"
#include "ops/attention/launch_cuda.cuh"

namespace centavo {

using namespace flash;

namespace {

constexpr int kStoreThreads = 256;

// The keys and values of the tokens whose first row stands in the block's tile go to their rows of the cache, word by
// word of `word` elements.
template <class T, class Word>
__global__ void __launch_bounds__(kStoreThreads) store_in_cache(ForwardArgs<T> args, int32_t tile_rows) {
  constexpr int kElements = sizeof(Word) / sizeof(T);
  const TableTile tile = args.tiles[blockIdx.x];
  if (tile.length == 0 || tile.document < 0) return;
  const int32_t group = static_cast<int32_t>(args.heads.group.divisor);
  const int32_t first = args.heads.group.quotient(tile.first + group - 1);
  const int32_t end = min(args.heads.group.quotient(tile.first + tile_rows + group - 1), tile.length);
  const int32_t position = args.position(tile.document);
  const int32_t words = static_cast<int32_t>(args.cache_row() / kElements);
  for (int32_t token = first; token < min(end, args.max_len - position); ++token) {
    const T* from = args.qkv + (tile.begin + token) * args.heads.qkv_row();
    const int64_t to = (static_cast<int64_t>(tile.document) * args.max_len + position + token) * args.cache_row();
    const auto* k = reinterpret_cast<const Word*>(from + args.heads.key_column(0));
    const auto* v = reinterpret_cast<const Word*>(from + args.heads.value_column(0));
    for (int32_t w = threadIdx.x; w < words; w += kStoreThreads) {
      reinterpret_cast<Word*>(args.k_cache + to)[w] = k[w];
      reinterpret_cast<Word*>(args.v_cache + to)[w] = v[w];
    }
  }
}

template <class T>
TileKernel<ForwardArgs<T>> simt_kernel(int64_t head_size) {
  return visit_simt(head_size, [](auto shape) -> TileKernel<ForwardArgs<T>> {
    using Shape = decltype(shape);
    return {.name = "attention_simt",
            .kernel = attention_simt<T, Shape>,
            .threads = kSimtThreads,
            .shared_bytes = (3 * Shape::kOperand + Shape::kWeights) * static_cast<int>(sizeof(float)),
            .tile_rows = Shape::kTile};
  });
}

TileKernel<ForwardArgs<__nv_bfloat16>> tensor_kernel(int64_t head_size) {
  return visit_tensor(head_size, [](auto d) -> TileKernel<ForwardArgs<__nv_bfloat16>> {
    using Shape = ForwardShape<decltype(d)::value>;
    return {.name = "attention_tensor",
            .kernel = attention_tensor<decltype(d)::value>,
            .threads = Shape::kThreads,
            .shared_bytes = Shape::kSharedBytes,
            .tile_rows = Shape::kRows};
  });
}

// One way to run the op.
template <class T>
struct Way {
  TileKernel<ForwardArgs<T>> kernel;
  TileTable table;
};

template <class T>
struct Attention {
  AttentionSizes sizes;
  int64_t max_len = 0;
  Way<T> simt, tensor;  // tensor has no kernel where rows are no vectors

  ForwardArgs<T> args(const CudaCall& call) const {
    return {.heads = heads_of(sizes),
            .max_len = static_cast<int32_t>(max_len),
            .qkv = call.in<T>(0),
            .positions = call.in<int32_t>(4),
            .k_cache = call.out<T>(2),
            .v_cache = call.out<T>(3),
            .y = call.out<T>(0),
            .lse = call.out<float>(1)};
  }
  bool is_aligned_call(const ForwardArgs<T>& a) const {
    return is_aligned(a.qkv) && is_aligned(a.y) && is_aligned(a.k_cache) && is_aligned(a.v_cache);
  }
  void run(const CudaCall& call) const {
    ForwardArgs<T> a = args(call);
    const bool is_aligned = is_aligned_call(a);
    const Way<T>& way = is_aligned && tensor.kernel.kernel != nullptr ? tensor : simt;
    const TileTable table = table_at(way.table, sizes.documents, call.workspace);
    fill_tables(call.in<int32_t>(1), sizes.documents, sizes.tokens, table, {}, call.stream);
    a.tiles = table.tiles;
    if (max_len > 0) store(a, table, is_aligned && sizes.head_size * sizeof(T) % 16 == 0, call.stream);
    way.kernel.launch(a, table, call.stream);
  }

 private:
  void store(const ForwardArgs<T>& a, const TileTable& table, bool in_vectors, CUstream_st* stream) const {
    const auto kernel = in_vectors ? store_in_cache<T, uint4> : store_in_cache<T, T>;
    kernel<<<static_cast<uint32_t>(table.capacity), kStoreThreads, 0, stream>>>(a, table.tile_rows);
    check_launch("store_in_cache");
  }
};

template <class T>
Way<T> way_of(const AttentionSizes& sizes, const TileKernel<ForwardArgs<T>>& kernel) {
  kernel.prepare();
  return {kernel, table_of(sizes, sizes.group(), kernel.tile_rows, TileOrder::last_tile_first)};
}

}  // namespace

// The plain kernels have the smaller tiles, so the larger tables.
int64_t attention_own_cuda_workspace(const OpView& v, const CudaTraits&) {
  const AttentionSizes s = attention_sizes(v, 0, 1);
  return table_bytes(s.documents, tile_capacity(s.tokens, s.documents, s.group(), simt_tile_rows(s.head_size)));
}

CudaKernel attention_own_cuda(const OpView& v, const CudaTraits&) {
  const AttentionSizes sizes = attention_sizes(v, 0, 1);
  const int64_t max_len = v.has_input(2) ? v.in(2)[1] : 0;
  CHECK(max_len + sizes.tokens <= kMostPositions, "attention over {} tokens and a cache of {} rows", sizes.tokens,
        max_len);
  if (sizes.tokens == 0) return [](const CudaCall&) {};
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    Attention<T> attention{sizes, max_len, way_of<T>(sizes, simt_kernel<T>(sizes.head_size)), {}};
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      if (has_vectors(DType::bf16, sizes.head_size)) {
        attention.tensor = way_of<T>(sizes, tensor_kernel(sizes.head_size));
      }
    }
    return [=](const CudaCall& call) { attention.run(call); };
  });
}

}  // namespace centavo
