// What the language knows about each kind of op: its operands, attributes, shape rule, gradient rule, cost rule
// and kernels. One row per kind; the rows stand in the folders under src/ops/, the list of them in ops/all.cpp.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "program/program.h"

struct CUstream_st;  // cudaStream_t is a pointer to it; CUDA's own headers are for .cu files

namespace centavo {

class Communicator;   // base/communicator.h
class CudaLibraries;  // ops/cuda/libraries.h

// Which element types an operand may have.
enum class Type : uint8_t {
  compute,    // T: f64, f32 or bf16; all operands of this type in one op agree
  product,    // T, or f8e4m3 / f8e5m2 (inputs of matrix products)
  statistic,  // the accumulator of T: f32, for f64 f64
  gradient,   // any of f64, f32, bf16, chosen by the precision policy (weight gradients, states)
  fp8,        // f8e4m3 or f8e5m2
  f32,
  i32,
  i64,
  any,  // what moves bytes or counts without computing
};

struct Slot {
  std::string_view name;
  Type type = Type::compute;
  enum Need : uint8_t { required, optional } need = required;
  enum Adding : uint8_t { writes_only, can_add } adding = writes_only;  // outputs: may the binding be `add`
  // Outputs: may it be an input as well. own_part: also one of the even parts of an input, or an input one of its own
  // parts (what a collective sends or receives for this rank).
  enum Reuse : uint8_t { apart, in_place, own_part } reuse = apart;
};

struct AttributeSpec {
  std::string_view name;
  enum Form : uint8_t { whole, real, text } form = whole;
};

// An op seen together with its program; what shape, cost and kernel rules read.
class OpView {
 public:
  OpView(const Program& program, const Op& op) : program_(&program), op_(&op) {}

  const Op& op() const { return *op_; }
  const Program& program() const { return *program_; }
  bool has_input(size_t i) const { return i < op_->inputs.size() && op_->inputs[i] != kNone; }
  bool has_output(size_t i) const { return i < op_->outputs.size() && op_->outputs[i].buffer != kNone; }
  const Buffer& input(size_t i) const { return program_->buffer(op_->inputs[i]); }
  const Buffer& output(size_t i) const { return program_->buffer(op_->outputs[i].buffer); }
  bool adds(size_t i) const { return op_->outputs[i].bind == Bind::add; }
  const Shape& in(size_t i) const { return input(i).shape; }
  const Shape& out(size_t i) const { return output(i).shape; }
  // Rows and columns of an input seen as a matrix: all dims but the last, and the last.
  int64_t rows(size_t i) const;
  int64_t columns(size_t i) const;
  int64_t whole(std::string_view name) const;
  double real(std::string_view name) const;
  const std::string& text(std::string_view name) const;

 private:
  const Program* program_;
  const Op* op_;
};

// A broken shape rule; verify adds where.
struct ShapeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Args>
void expect(bool holds, fmt::format_string<Args...> format, Args&&... args) {
  if (!holds) throw ShapeError(fmt::format(format, std::forward<Args>(args)...));
}

// Work of one call. `bytes` counts each operand once, at its dtype; `wire_bytes` what one rank sends.
struct Cost {
  double flops = 0;
  double bytes = 0;
  double wire_bytes = 0;
};

// The memory of one call: absent operands are null.
struct OpCall {
  std::span<void* const> inputs;
  std::span<void* const> outputs;
  void* workspace = nullptr;

  template <class T>
  const T* in(size_t i) const {
    return i < inputs.size() ? static_cast<const T*>(inputs[i]) : nullptr;
  }
  template <class T>
  T* out(size_t i) const {
    return i < outputs.size() ? static_cast<T*>(outputs[i]) : nullptr;
  }
};

// What a CPU kernel is prepared for.
struct CpuTraits {
  int threads = 1;
  Communicator* communicator = nullptr;  // null: this rank is alone
};

using CpuCall = OpCall;
using CpuKernel = std::function<void(const CpuCall&)>;

// What a CUDA kernel is planned and prepared for. A plan needs no GPU: everything but `libraries` is known without one.
struct CudaTraits {
  int architecture = 90;       // compute capability, 90 for 9.0
  int multiprocessors = 132;   // of the GPU
  bool deterministic = false;  // attention's backward too
  // Where the GPU's libraries are reached; null while workspaces are planned, set when kernels are prepared.
  CudaLibraries* libraries = nullptr;
};

// The machine whose kernels and workspaces are asked for.
using MachineTraits = std::variant<CpuTraits, CudaTraits>;

struct CudaCall : OpCall {
  CUstream_st* stream = nullptr;
};

// Enqueues the op on the call's stream and returns. May run under stream capture, and then runs once for many replays:
// it neither allocates nor synchronises nor reads device memory on the host.
using CudaKernel = std::function<void(const CudaCall&)>;

class Gradients;  // passes/differentiate.h: what a gradient rule may do

struct OpDef {
  std::string_view kind;
  std::vector<Slot> inputs;
  std::vector<Slot> outputs;
  std::vector<AttributeSpec> attributes;

  // Output shapes from the inputs' shapes and the attributes; throws ShapeError when these do not fit. For an
  // absent output the entry is ignored.
  std::vector<Shape> (*shapes)(const OpView&) = nullptr;
  // Appends the backward of `op`; null: nothing flows back through this op.
  void (*gradient)(Gradients&, const Op& op) = nullptr;
  // Its backward computes the forward's outputs as well, so `differentiate` drops the forward op.
  bool backward_replaces_forward = false;
  // A shorter op that computes some outputs of `original` from its other outputs, bit for bit, writing nothing else;
  // nothing when this call has no such form. A replay may take it (passes/recompute.h).
  std::optional<Op> (*short_replay)(const Op& original) = nullptr;
  // Ranks talk to each other: all such ops of a rank stand in one order.
  bool collective = false;
  Cost (*cost)(const OpView&) = nullptr;
  // Scratch bytes of one call; null: none.
  int64_t (*cpu_workspace_bytes)(const OpView&, const CpuTraits&) = nullptr;
  // Everything that can be decided before step 0 is decided here; the returned function only computes.
  CpuKernel (*cpu)(const OpView&, const CpuTraits&) = nullptr;
  // The same for a GPU; set by ops/all_cuda.cpp, null in a build without CUDA. The workspace must hold for any GPU of
  // the traits' architecture: it is planned where there is none.
  int64_t (*cuda_workspace_bytes)(const OpView&, const CudaTraits&) = nullptr;
  CudaKernel (*cuda)(const OpView&, const CudaTraits&) = nullptr;
};

// Sum of the operands' bytes, the `bytes` of most cost rules.
double operand_bytes(const OpView& view);

class OpTable {
 public:
  explicit OpTable(std::vector<OpDef> rows);
  const OpDef* find(std::string_view kind) const;  // null when unknown
  const OpDef& at(std::string_view kind) const;    // CHECKs that it is known
  const std::vector<OpDef>& rows() const { return rows_; }

 private:
  std::vector<OpDef> rows_;
  std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace centavo
