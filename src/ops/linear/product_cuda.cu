// Products are cuBLASLt's. Beside them: a bias laid into the output's rows, a thread for every element (written, or
// read and written), and sums rounded to their output, a thread for every four (16 bytes read, 8 or 16 written, and
// read first where they add).

#include "ops/linear/product_cuda.h"

#include <algorithm>
#include <numeric>

#include "ops/cuda/check_cublas.h"
#include "ops/cuda/device.cuh"
#include "ops/linear/product_algorithm.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostGridRows = 65535;

template <class T>
__global__ void lay_bias(const T* bias, int64_t rows, int64_t columns, int64_t stride, bool adds, T* c) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    T* at = c + row * stride + column;
    *at = adds ? from_float<T>(to_float(*at) + to_float(bias[column])) : bias[column];
  }
}

void enqueue_bias(const CudaProduct::Case& product, Bind bind, const CudaProductOperands& operands,
                  CUstream_st* stream) {
  const ProductSpec& s = product.spec;
  const dim3 grid(static_cast<unsigned>(ceil_div(s.n, kThreads)), static_cast<unsigned>(std::min(s.m, kMostGridRows)));
  visit_cuda(s.c, [&](auto tag) {
    using T = typename decltype(tag)::type;
    lay_bias<<<grid, kThreads, 0, stream>>>(static_cast<const T*>(operands.bias), s.m, s.n,
                                            product.layout.c_stride > 0 ? product.layout.c_stride : s.n,
                                            bind == Bind::add, static_cast<T*>(operands.c));
  });
  check_launch("laying a bias");
}

template <class T>
__global__ void round_quads(const float* sums, int64_t count, bool adds, T* to) {
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x);
  if (first >= count) return;
  struct alignas(4 * sizeof(T)) Quad {
    T at[4];
  };
  const bool whole = first + 4 <= count && reinterpret_cast<uintptr_t>(to) % sizeof(Quad) == 0;
  if (!whole) {
    for (int64_t i = first; i < first + 4 && i < count; ++i) {
      to[i] = from_float<T>((adds ? to_float(to[i]) : 0.0f) + sums[i]);
    }
    return;
  }
  const Vec<float> sum = Vec<float>::load_streaming(sums + first);
  Quad result = {};
  if (adds) result = *reinterpret_cast<const Quad*>(to + first);
#pragma unroll
  for (int i = 0; i < 4; ++i) result.at[i] = from_float<T>((adds ? to_float(result.at[i]) : 0.0f) + sum.at[i]);
  *reinterpret_cast<Quad*>(to + first) = result;
}

bool rounds_apart(const ProductSpec& spec) { return spec.a == DType::f32 && spec.c == DType::bf16; }

// cuBLASLt wants its workspace at a multiple of this, which is more than buffers are aligned to.
constexpr int64_t kWorkspaceAlignment = 256;

void* aligned_workspace(void* workspace) {
  const auto address = reinterpret_cast<uintptr_t>(workspace);
  return reinterpret_cast<void*>((address + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment);
}

int64_t library_bytes(const CudaTraits& traits) { return int64_t{traits.architecture >= 90 ? 32 : 8} << 20; }

void check_types(const ProductSpec& spec) {
  if (size_of(spec.a) == 1 || size_of(spec.b) == 1) {
    user_error("8-bit matrix products do not run on a GPU yet; use precision = \"bf16\"");
  }
  const auto can = [](DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; };
  CHECK(spec.a == spec.b && can(spec.a) && can(spec.c), "no CUDA product of {} and {} to {}", name_of(spec.a),
        name_of(spec.b), name_of(spec.c));
}

}  // namespace

int64_t alignment_of(const Program& program, BufferId buffer) {
  int64_t element = 0;
  const BufferId root = program.root(buffer, &element);
  return std::gcd(element * size_of(program.buffer(root).dtype), kAlignment);
}

void round_sums(const float* sums, int64_t count, DType dtype, Bind bind, void* to, CUstream_st* stream) {
  visit_cuda(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto blocks = static_cast<unsigned>(ceil_div(count, 4 * kThreads));
    round_quads<<<blocks, kThreads, 0, stream>>>(sums, count, bind == Bind::add, static_cast<T*>(to));
  });
  check_launch("rounding sums");
}

std::string CudaProduct::Case::key() const {
  const auto strided = [](int64_t stride) { return stride > 0 ? fmt::format("/{}", stride) : std::string(); };
  return fmt::format(
      "product {}{} m{} n{} k{} {}{}*{}->{}{} {}{} align {},{},{},{} workspace {}", spec.transpose_a ? 't' : 'n',
      spec.transpose_b ? 't' : 'n', spec.m, spec.n, spec.k, name_of(spec.a), strided(spec.a_stride), name_of(spec.b),
      name_of(spec.c), strided(layout.c_stride), spec.bind == Bind::add ? "add" : "write", has_bias() ? " bias" : "",
      layout.a_alignment, layout.b_alignment, layout.c_alignment, layout.bias_alignment, workspace_bytes);
}

int64_t CudaProduct::workspace_bytes(const ProductSpec& spec, const CudaTraits& traits) {
  check_types(spec);
  return library_bytes(traits) + kWorkspaceAlignment +
         (rounds_apart(spec) ? align_up(spec.m * spec.n * size_of(DType::f32)) : 0);
}

CudaProduct::CudaProduct(const ProductSpec& spec, const CudaProductLayout& layout, const CudaTraits& traits)
    : case_{spec, layout, library_bytes(traits)}, bind_(spec.bind) {
  check_types(spec);
  CHECK(traits.libraries != nullptr, "a product is prepared on a GPU");
  cublas_ = traits.libraries->cublas_lt();
  if (rounds_apart(spec)) {
    CHECK(layout.c_stride == 0 && !case_.has_bias(), "rounded apart, C is dense and has no bias");
    rounds_ = true;
    case_.spec.c = DType::f32;
    case_.spec.bind = Bind::write;
    case_.layout.c_alignment = kAlignment;
  }
  std::optional<Algorithm> algorithm = choose_algorithm(*traits.libraries, case_);
  if (!algorithm && case_.has_bias()) {
    lays_bias_ = true;
    case_.layout.bias_alignment = 0;
    case_.spec.bind = Bind::add;
    algorithm = choose_algorithm(*traits.libraries, case_);
  }
  if (!algorithm) throw DeviceError(fmt::format("cuBLASLt has no algorithm for {}", case_.key()));
  algorithm_ = *algorithm;
}

void CudaProduct::run(const CudaProductOperands& operands, void* workspace, CUstream_st* stream) const {
  CudaProductOperands own = operands;
  workspace = aligned_workspace(workspace);
  if (rounds_) own.c = static_cast<char*>(workspace) + case_.workspace_bytes;
  if (lays_bias_) enqueue_bias(case_, bind_, operands, stream);
  cublas_check(enqueue(cublas_, case_, algorithm_, own, workspace, stream), "enqueuing a matrix product");
  if (rounds_) {
    round_sums(static_cast<const float*>(own.c), case_.spec.m * case_.spec.n, DType::bf16, bind_, operands.c, stream);
  }
}

}  // namespace centavo
