#include "ops/linear/product_algorithm.cuh"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/cuda/check_cublas.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/timing.cuh"

namespace centavo {
namespace {

using Algorithm = CudaProduct::Algorithm;
using Case = CudaProduct::Case;

constexpr int kCandidates = 16;
constexpr size_t kRounds = 5;
constexpr size_t kLongRounds = 3;           // of long products, which are timed again
constexpr float kWorthTimingAgain = 1.10f;  // long ones, alone, when they are fast by turns

// A product with thousands of tiles takes the same share of its time for any part of its rows that still has many: what
// takes tens of milliseconds, as a head does, is timed on such a part.
constexpr double kEnoughFlops = 2.5e12;
constexpr int64_t kEnoughRows = 4096;

cudaDataType_t cuda_type(DType dtype) { return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF; }

template <class V>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, const V& value) {
  cublas_check(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)), "describing a product");
}

// A row-major [rows, columns] matrix is a column-major [columns, rows] one.
void lay_out(cublasLtMatrixLayoutOpaque_t& layout, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  cublas_check(cublasLtMatrixLayoutInit(&layout, cuda_type(dtype), static_cast<uint64_t>(columns),
                                        static_cast<uint64_t>(rows), stride > 0 ? stride : columns),
               "describing a matrix");
}

cublasLtMatmulAlgo_t as_cublas(const Algorithm& algorithm) {
  cublasLtMatmulAlgo_t result;
  static_assert(sizeof(result) == sizeof(algorithm));
  std::memcpy(&result, algorithm.data(), sizeof(result));
  return result;
}

Algorithm as_numbers(const cublasLtMatmulAlgo_t& algorithm) {
  Algorithm result;
  std::memcpy(result.data(), &algorithm, sizeof(algorithm));
  return result;
}

// --- what is kept: the algorithm's words in hexadecimal

std::string to_text(const Algorithm& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm) text += fmt::format("{:016x}", word);
  return text;
}

std::optional<Algorithm> from_text(const std::string& text) {
  Algorithm algorithm = {};
  if (text.size() != 16 * algorithm.size()) return std::nullopt;
  for (size_t i = 0; i < algorithm.size(); ++i) {
    const char* begin = text.data() + 16 * i;
    const auto [end, error] = std::from_chars(begin, begin + 16, algorithm[i], 16);
    if (error != std::errc() || end != begin + 16) return std::nullopt;
  }
  return algorithm;
}

const void* aligned_address(int64_t alignment) { return reinterpret_cast<const void*>(alignment); }

// Would this library run it, in the workspace there is?
bool runs(cublasLtContext* cublas, const Case& product, const Algorithm& algorithm) {
  CublasProduct p(product, aligned_address(product.layout.bias_alignment));
  const cublasLtMatmulAlgo_t as = as_cublas(algorithm);
  cublasLtMatmulHeuristicResult_t result = {};
  return cublasLtMatmulAlgoCheck(cublas, &p.operation, &p.a, &p.b, &p.c, &p.c, &as, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= static_cast<size_t>(product.workspace_bytes);
}

// --- what cuBLASLt proposes, best guess first

cublasLtMatmulPreferenceOpaque_t preference_of(const Case& product) {
  cublasLtMatmulPreferenceOpaque_t preference;
  cublas_check(cublasLtMatmulPreferenceInit(&preference), "describing a product");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    cublas_check(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)),
                 "describing a product");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(product.workspace_bytes));
  // The other schemes round partial sums to C.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(product.layout.b_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(product.layout.a_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(product.layout.c_alignment));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(product.layout.c_alignment));
  return preference;
}

std::vector<Algorithm> proposals(cublasLtContext* cublas, const Case& product) {
  CublasProduct p(product, aligned_address(product.layout.bias_alignment));
  cublasLtMatmulPreferenceOpaque_t preference = preference_of(product);
  cublasLtMatmulHeuristicResult_t results[kCandidates] = {};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(cublas, &p.operation, &p.a, &p.b, &p.c, &p.c,
                                                               &preference, kCandidates, results, &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  cublas_check(status, "asking for algorithms");
  std::vector<Algorithm> algorithms;
  for (int i = 0; i < found; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(as_numbers(results[i].algo));
  }
  return algorithms;
}

// --- timing

// Several sets of operands, one behind the other, and the workspace. They are random numbers: what a product takes
// depends on its operands' bits, as they decide its energy.
class Operands {
 public:
  explicit Operands(const Case& product) {
    const ProductSpec& s = product.spec;
    const auto whole = [](int64_t bytes) { return ceil_div(bytes, 256) * 256; };
    const int64_t a_rows = s.transpose_a ? s.k : s.m;
    const int64_t a_stride = s.a_stride > 0 ? s.a_stride : (s.transpose_a ? s.m : s.k);
    const int64_t c_stride = product.layout.c_stride > 0 ? product.layout.c_stride : s.n;
    b_ = whole(a_rows * a_stride * size_of(s.a));
    c_ = b_ + whole(s.k * s.n * size_of(s.b));
    bias_ = c_ + whole(s.m * c_stride * size_of(s.c));
    set_bytes_ = bias_ + whole(s.n * size_of(s.c));
    sets_ = std::clamp<int64_t>(kRotatedBytes / set_bytes_, 1, kMostSets);
    bytes_ = sets_ * set_bytes_ + product.workspace_bytes;
  }

  int64_t bytes() const { return bytes_; }
  void lie_in(void* memory) { memory_ = static_cast<char*>(memory); }

  CudaProductOperands set(int64_t i) const {
    char* at = memory_ + i % sets_ * set_bytes_;
    return {.a = at, .b = at + b_, .c = at + c_, .bias = at + bias_};
  }
  void* workspace() const { return memory_ + sets_ * set_bytes_; }

 private:
  char* memory_ = nullptr;
  int64_t b_ = 0, c_ = 0, bias_ = 0, set_bytes_ = 0, sets_ = 1, bytes_ = 0;
};

double flops_of(const ProductSpec& s) {
  return 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
}

Case timed_part(Case product) {
  ProductSpec& s = product.spec;
  if (s.transpose_a && s.a_stride == 0) s.a_stride = s.m;
  while (flops_of(s) > kEnoughFlops && s.m >= 2 * kEnoughRows) s.m /= 2;
  return product;
}

float median(std::vector<float> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Milliseconds of each candidate; those that do not run on `product`, the whole or a part, are taken out. They take
// turns, so that what the clock does in between meets all of them; the first turn loads their code.
std::vector<float> time_candidates(CudaLibraries& libraries, const Case& product, const Operands& operands,
                                   size_t rounds, std::vector<Algorithm>& candidates) {
  cublasLtContext* const cublas = libraries.cublas_lt();
  CUstream_st* const stream = libraries.stream();
  std::erase_if(candidates, [&](const Algorithm& algorithm) {
    return enqueue(cublas, product, algorithm, operands.set(0), operands.workspace(), stream) != CUBLAS_STATUS_SUCCESS;
  });
  using Turn = std::array<Event, 2>;
  std::vector<std::vector<Turn>> events(candidates.size());
  for (std::vector<Turn>& turns : events) turns = std::vector<Turn>(rounds);
  int64_t launches = 0;
  for (size_t round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      events[i][round][0].record(stream);
      cublas_check(enqueue(cublas, product, candidates[i], operands.set(++launches), operands.workspace(), stream),
                   "timing a product");
      events[i][round][1].record(stream);
    }
  }
  std::vector<float> ms;
  for (const std::vector<Turn>& turns : events) {
    std::vector<float> times;
    for (const Turn& turn : turns) {
      turn[1].wait();
      times.push_back(turn[1].ms_since(turn[0]));
    }
    ms.push_back(median(std::move(times)));
  }
  return ms;
}

size_t fastest_of(const std::vector<float>& ms) {
  size_t best = 0;
  for (size_t i = 1; i < ms.size(); ++i) {
    if (ms[i] < kClearlyFaster * ms[best]) best = i;
  }
  return best;
}

struct Found {
  Algorithm algorithm;
  bool to_keep = true;
};

std::optional<Found> fastest(CudaLibraries& libraries, const Case& whole) {
  std::vector<Algorithm> candidates = proposals(libraries.cublas_lt(), whole);
  if (candidates.empty()) return std::nullopt;
  const double flops = flops_of(whole.spec);
  const bool is_long = flops >= kLongFlops;
  const Case product = timed_part(whole);
  if (candidates.size() == 1 || flops < kShortFlops) return Found{candidates.front()};
  Operands operands(product);
  if (!libraries.has_room_for_scratch(operands.bytes())) return Found{candidates.front(), false};
  operands.lie_in(libraries.scratch(operands.bytes()));
  std::vector<float> ms = time_candidates(libraries, product, operands, is_long ? kLongRounds : kRounds, candidates);
  if (candidates.empty()) return std::nullopt;
  if (!is_long) return Found{candidates[fastest_of(ms)]};
  const auto launch_of = [&](size_t i) {
    return [&, i](int64_t launch) {
      cublas_check(enqueue(libraries.cublas_lt(), product, candidates[i], operands.set(launch), operands.workspace(),
                           libraries.stream()),
                   "timing a product");
    };
  };
  const auto first = std::ranges::min_element(ms);
  const float shortest = *first;
  heat(shortest, launch_of(static_cast<size_t>(first - ms.begin())));
  for (size_t i = 0; i < ms.size(); ++i) {
    ms[i] = ms[i] > kWorthTimingAgain * shortest ? std::numeric_limits<float>::infinity()
                                                 : time_alone(libraries.stream(), ms[i], launch_of(i));
  }
  return Found{candidates[fastest_of(ms)]};
}

}  // namespace

CublasProduct::CublasProduct(const Case& product, const void* bias) {
  const ProductSpec& s = product.spec;
  cublas_check(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (product.has_bias()) {
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(cuda_type(s.c)));
    set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  lay_out(a, s.b, s.transpose_b ? s.n : s.k, s.transpose_b ? s.k : s.n, 0);
  lay_out(b, s.a, s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k, s.a_stride);
  lay_out(c, s.c, s.m, s.n, product.layout.c_stride);
}

cublasStatus_t enqueue(cublasLtContext* cublas, const Case& product, const Algorithm& algorithm,
                       const CudaProductOperands& operands, void* workspace, CUstream_st* stream) {
  CublasProduct p(product, operands.bias);
  const cublasLtMatmulAlgo_t as = as_cublas(algorithm);
  const float scale = static_cast<float>(product.spec.scale);
  const float before = product.spec.bind == Bind::add ? 1.0f : 0.0f;
  return cublasLtMatmul(cublas, &p.operation, &scale, operands.b, &p.a, operands.a, &p.b, &before, operands.c, &p.c,
                        operands.c, &p.c, &as, workspace, static_cast<size_t>(product.workspace_bytes), stream);
}

std::optional<Algorithm> choose_algorithm(CudaLibraries& libraries, const Case& product) {
  const std::string key = product.key();
  const std::optional<Algorithm> known = from_text(libraries.tuning.find(key));
  if (known && runs(libraries.cublas_lt(), product, *known)) return known;
  const std::optional<Found> found = fastest(libraries, product);
  if (!found) return std::nullopt;
  if (found->to_keep) libraries.tuning.set(key, to_text(found->algorithm));
  return found->algorithm;
}

}  // namespace centavo
