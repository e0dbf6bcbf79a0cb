#include "ops/linear/product.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <dnnl.hpp>

#include "base/parallel.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;
constexpr int64_t kColumnTile = 64;
// Of A and C in f32, for each thread: what is widened is still in its second-level cache when it is multiplied, and
// what was multiplied when it is rounded.
constexpr int64_t kPanelBytes = int64_t{2} << 20;
constexpr int64_t kLeastPanelRows = 64;

bool is_fp8(DType dtype) { return dtype == DType::f8e4m3 || dtype == DType::f8e5m2; }

// What oneDNN multiplies: bf16 natively, or everything widened to f32.
DType multiplied_as(const ProductSpec& spec) {
  const bool native = spec.a == DType::bf16 && spec.b == DType::bf16 && cpu_multiplies_bf16();
  return native ? DType::bf16 : DType::f32;
}

// `stride` elements lie between the rows as they are stored.
dnnl::memory::desc matrix(int64_t rows, int64_t columns, bool transposed, DType dtype, int64_t stride) {
  using Memory = dnnl::memory;
  const auto type = dtype == DType::bf16 ? Memory::data_type::bf16 : Memory::data_type::f32;
  const Memory::dims strides = transposed ? Memory::dims{1, stride} : Memory::dims{stride, 1};
  return {Memory::dims{rows, columns}, type, strides};
}

// What oneDNN writes: bf16 where it multiplies bf16, else f32, which is rounded afterwards.
DType written_as(const ProductSpec& spec) {
  return spec.c == DType::bf16 && multiplied_as(spec) == DType::bf16 ? DType::bf16 : DType::f32;
}

// Rows of C that are multiplied at a time: all of them, unless conversions pass through the workspace.
int64_t panel_rows(const ProductSpec& spec) {
  const bool widens_a = spec.a != multiplied_as(spec);
  const bool rounds_c = spec.c != written_as(spec);
  const int64_t row_bytes = 4 * ((widens_a ? spec.k : 0) + (rounds_c ? spec.n : 0));
  if (row_bytes == 0 || spec.transpose_a) return spec.m;
  const int64_t rows = omp_get_max_threads() * kPanelBytes / row_bytes / kLeastPanelRows * kLeastPanelRows;
  return std::min(spec.m, std::max(rows, kLeastPanelRows));
}

// Of `rows` rows of C.
dnnl::matmul::primitive_desc describe(const ProductSpec& spec, int64_t rows, const dnnl::engine& engine) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (spec.scale != 1.0) attr.set_output_scales(0, {static_cast<float>(spec.scale)});
  if (spec.c == written_as(spec) && spec.bind == Bind::add) {
    dnnl::post_ops add;
    add.append_sum(1.0f);
    attr.set_post_ops(add);
  }
  const DType type = multiplied_as(spec);
  const int64_t a_stride = spec.a_stride > 0 ? spec.a_stride : spec.transpose_a ? rows : spec.k;
  const dnnl::matmul::desc desc(matrix(rows, spec.k, spec.transpose_a, type, a_stride),
                                matrix(spec.k, spec.n, spec.transpose_b, type, spec.transpose_b ? spec.k : spec.n),
                                matrix(rows, spec.n, false, written_as(spec), spec.n));
  return {desc, attr, engine};
}

// Where each part of the workspace starts, in bytes; `end` is its size.
struct Layout {
  int64_t a = 0, b = 0, c = 0, scratch = 0, end = 0;
};

Layout layout(const ProductSpec& spec, int64_t scratch_bytes) {
  const auto f32_bytes = [](bool needed, int64_t elements) { return needed ? align_up(4 * elements) : 0; };
  const DType type = multiplied_as(spec);
  const int64_t rows = panel_rows(spec);
  Layout l;
  l.b = l.a + f32_bytes(spec.a != type, rows * spec.k);
  l.c = l.b + f32_bytes(spec.b != type, spec.k * spec.n);
  l.scratch = l.c + f32_bytes(spec.c != written_as(spec), rows * spec.n);
  l.end = l.scratch + align_up(scratch_bytes);
  return l;
}

// All 256 values of an 8-bit format, times `factor`.
template <class F8>
std::array<float, 256> decoded(float factor) {
  std::array<float, 256> values;
  for (size_t i = 0; i < values.size(); ++i) {
    F8 value;
    value.bits = static_cast<uint8_t>(i);
    values[i] = convert<float>(value) * factor;
  }
  return values;
}

template <class From>
void widen_as(const void* from, float* to, int64_t count, float factor) {
  const From* source = static_cast<const From*>(from);
  if constexpr (sizeof(From) == 1) {
    const std::array<float, 256> values = decoded<From>(factor);
    parallel_for(count, kElementsPerThread, [&](int64_t i) { to[i] = values[source[i].bits]; });
  } else {
    parallel_for(count, kElementsPerThread, [&](int64_t i) { to[i] = convert<float>(source[i]); });
  }
}

// `factor` reaches the 8-bit formats only.
void widen(DType dtype, const void* from, float* to, int64_t count, float factor) {
  visit_float(dtype, [&](auto tag) { widen_as<typename decltype(tag)::type>(from, to, count, factor); });
}

template <class C>
void round_into(const float* sums, C* c, int64_t count, Bind bind) {
  using A = Accumulator<C>;
  if (bind == Bind::write) {
    parallel_for(count, kElementsPerThread, [&](int64_t i) { c[i] = convert<C>(sums[i]); });
  } else {
    parallel_for(count, kElementsPerThread,
                 [&](int64_t i) { c[i] = convert<C>(convert<A>(c[i]) + static_cast<A>(sums[i])); });
  }
}

// Columns [begin, end) of row i of C, products added in the order of k.
template <class C>
void f64_tile(const ProductSpec& s, const double* a, const double* b, int64_t i, int64_t begin, int64_t end,
              double scale, C* c) {
  double sums[kColumnTile] = {};
  const int64_t step = s.transpose_b ? s.k : 1;
  for (int64_t p = 0; p < s.k; ++p) {
    const double left = s.transpose_a ? a[p * s.m + i] : a[i * s.k + p];
    const double* right = b + (s.transpose_b ? p + begin * s.k : p * s.n + begin);
    for (int64_t j = 0; j < end - begin; ++j) sums[j] += left * right[j * step];
  }
  for (int64_t j = begin; j < end; ++j) {
    C& to = c[i * s.n + j];
    to = convert<C>((s.bind == Bind::add ? convert<double>(to) : 0.0) + scale * sums[j - begin]);
  }
}

template <class C>
void f64_product(const ProductSpec& s, const double* a, const double* b, double scale, C* c) {
  const int64_t tiles = (s.n + kColumnTile - 1) / kColumnTile;
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (kColumnTile * s.k));
  parallel_for(s.m * tiles, grain, [&](int64_t item) {
    const int64_t begin = item % tiles * kColumnTile;
    f64_tile(s, a, b, item / tiles, begin, std::min(begin + kColumnTile, s.n), scale, c);
  });
}

void check_types(const ProductSpec& spec) {
  CHECK((spec.a == DType::f64) == (spec.b == DType::f64), "f64 is multiplied with f64 only");
  CHECK(is_float(spec.a) && is_float(spec.b) && is_float(spec.c) && !is_fp8(spec.c));
  CHECK(spec.a_stride == 0 || spec.a == multiplied_as(spec), "only an A that is not converted may have a stride");
  CHECK(spec.m > 0 && spec.n > 0 && spec.k > 0, "empty product {} x {} x {}", spec.m, spec.n, spec.k);
}

}  // namespace

// AVX512-BF16 alone is no reason: on Intel's cores VDPBF16PS does half the work of two fused multiply-adds in f32.
bool cpu_multiplies_bf16() {
  const auto has = [](dnnl::cpu_isa isa) {
    const int needed = static_cast<int>(isa);
    return (static_cast<int>(dnnl::get_effective_cpu_isa()) & needed) == needed;
  };
  if (has(dnnl::cpu_isa::avx512_core_amx)) return true;
  return has(dnnl::cpu_isa::avx512_core_bf16) && __builtin_cpu_is("amd");
}

namespace {

// The product of some rows of C as oneDNN does it.
struct Panel {
  Panel() = default;
  Panel(const ProductSpec& spec, int64_t rows, const dnnl::engine& engine) {
    const dnnl::matmul::primitive_desc description = describe(spec, rows, engine);
    primitive = dnnl::matmul(description);
    scratch_bytes = static_cast<int64_t>(description.scratchpad_desc().get_size());
    operands = {dnnl::memory(description.src_desc(), engine, DNNL_MEMORY_NONE),
                dnnl::memory(description.weights_desc(), engine, DNNL_MEMORY_NONE),
                dnnl::memory(description.dst_desc(), engine, DNNL_MEMORY_NONE),
                dnnl::memory(description.scratchpad_desc(), engine, DNNL_MEMORY_NONE)};
  }

  void execute(const dnnl::stream& stream, const void* a, const void* b, void* c, void* scratch);

  dnnl::matmul primitive;
  std::array<dnnl::memory, 4> operands;  // a, b, c, scratchpad
  int64_t scratch_bytes = 0;
};

// The C interface, because the C++ one builds a map of the arguments on every call.
void Panel::execute(const dnnl::stream& stream, const void* a, const void* b, void* c, void* scratch) {
  operands[0].set_data_handle(const_cast<void*>(a));
  operands[1].set_data_handle(const_cast<void*>(b));
  operands[2].set_data_handle(c);
  operands[3].set_data_handle(scratch);
  const std::array<dnnl_exec_arg_t, 4> arguments = {{{DNNL_ARG_SRC, operands[0].get()},
                                                     {DNNL_ARG_WEIGHTS, operands[1].get()},
                                                     {DNNL_ARG_DST, operands[2].get()},
                                                     {DNNL_ARG_SCRATCHPAD, operands[3].get()}}};
  const dnnl_status_t status = dnnl_primitive_execute(primitive.get(), stream.get(), 4, arguments.data());
  CHECK(status == dnnl_success, "oneDNN matmul: status {}", static_cast<int>(status));
}

}  // namespace

struct Product::State {
  explicit State(const ProductSpec& product_spec);
  void multiply(const void* a, const void* b, void* c, char* workspace, float extra);
  void multiply_rows(Panel& panel, int64_t first, int64_t count, const void* a, const void* b, void* c, char* workspace,
                     float extra_a);
  const void* operand(DType dtype, const void* from, float* widened, int64_t count, float factor) const;

  ProductSpec spec;
  DType type = DType::f32;
  Layout at;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  int64_t rows = 0;  // of a whole panel
  Panel whole;
  Panel rest;  // the rows behind the last whole panel, when there are any
};

Product::State::State(const ProductSpec& product_spec) : spec(product_spec), type(multiplied_as(spec)) {
  if (spec.a == DType::f64) return;
  rows = panel_rows(spec);
  whole = Panel(spec, rows, engine);
  if (spec.m % rows != 0) rest = Panel(spec, spec.m % rows, engine);
  at = layout(spec, std::max(whole.scratch_bytes, rest.scratch_bytes));
}

const void* Product::State::operand(DType dtype, const void* from, float* widened, int64_t count, float factor) const {
  if (dtype == type) return from;
  widen(dtype, from, widened, count, factor);
  return widened;
}

// Rows [first, first + count) of C.
void Product::State::multiply_rows(Panel& panel, int64_t first, int64_t count, const void* a, const void* b, void* c,
                                   char* workspace, float extra_a) {
  const auto part = [&](int64_t offset) { return reinterpret_cast<float*>(workspace + offset); };
  const char* a_rows = static_cast<const char*>(a) + first * spec.k * size_of(spec.a);
  char* c_rows = static_cast<char*>(c) + first * spec.n * size_of(spec.c);
  const void* left = operand(spec.a, a_rows, part(at.a), count * spec.k, extra_a);
  if (spec.c == written_as(spec)) return panel.execute(stream, left, b, c_rows, part(at.scratch));
  panel.execute(stream, left, b, part(at.c), part(at.scratch));
  visit_compute(spec.c, [&](auto tag) {
    using C = typename decltype(tag)::type;
    round_into(part(at.c), reinterpret_cast<C*>(c_rows), count * spec.n, spec.bind);
  });
}

void Product::State::multiply(const void* a, const void* b, void* c, char* workspace, float extra) {
  const float extra_b = is_fp8(spec.a) ? 1.0f : extra;
  const void* right = operand(spec.b, b, reinterpret_cast<float*>(workspace + at.b), spec.k * spec.n, extra_b);
  for (int64_t first = 0; first < spec.m; first += rows) {
    const int64_t count = std::min(rows, spec.m - first);
    multiply_rows(count == rows ? whole : rest, first, count, a, right, c, workspace, extra);
  }
}

Product::Product(const ProductSpec& spec) {
  check_types(spec);
  state_ = std::make_unique<State>(spec);
}

Product::~Product() = default;
Product::Product(Product&&) noexcept = default;
Product& Product::operator=(Product&&) noexcept = default;

int64_t Product::workspace_bytes(const ProductSpec& spec) {
  check_types(spec);
  if (spec.a == DType::f64) return 0;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const int64_t rows = panel_rows(spec);
  const auto scratch = [&](int64_t of_rows) {
    return of_rows == 0 ? 0 : static_cast<int64_t>(describe(spec, of_rows, engine).scratchpad_desc().get_size());
  };
  return layout(spec, std::max(scratch(rows), scratch(spec.m % rows))).end;
}

void Product::run(const void* a, const void* b, void* c, void* workspace, float extra) const {
  const ProductSpec& spec = state_->spec;
  CHECK(extra == 1.0f || spec.a == DType::f64 || is_fp8(spec.a) || is_fp8(spec.b), "only quantised operands have one");
  if (spec.a != DType::f64) return state_->multiply(a, b, c, static_cast<char*>(workspace), extra);
  visit_compute(spec.c, [&](auto tag) {
    using C = typename decltype(tag)::type;
    f64_product(spec, static_cast<const double*>(a), static_cast<const double*>(b), spec.scale * extra,
                static_cast<C*>(c));
  });
}

}  // namespace centavo
