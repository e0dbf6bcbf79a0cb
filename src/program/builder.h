// Builds the forward text of a program. The functions in src/ops/<op>/<op>.h call it, so a model reads as math:
//
//   Builder b(ops);
//   BufferId y = linear(b, "y", x, weight);
//
// Output shapes and dtypes come from the op's row in the table; nothing states a shape twice.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Where an output goes: a new activation of that name, an existing buffer, or nowhere.
struct Into {
  Into() = default;                                                           // absent
  Into(std::string new_name) : name(std::move(new_name)) {}                   // NOLINT: meant to convert
  Into(const char* new_name) : name(new_name) {}                              // NOLINT
  Into(BufferId buffer, Bind bind = Bind::write) : existing{buffer, bind} {}  // NOLINT

  std::string name;
  Output existing;
};

class Builder {
 public:
  // `compute` is the dtype of new parameters and inputs; `precision` may change it later.
  explicit Builder(const OpTable& ops, std::string section = "micro", DType compute = DType::f32);

  // Appends a section, and a call of it, to a program that exists.
  Builder(const OpTable& ops, Program existing, std::string section, Stage section_stage);

  // Appends an op to the section; returns the buffer of each output (kNone where absent). Throws ShapeError when the
  // operands do not fit.
  std::vector<BufferId> call(std::string_view kind, std::vector<BufferId> inputs, const std::vector<Into>& outputs,
                             std::map<std::string, Attribute> attributes = {});

  BufferId parameter(std::string name, Shape shape, bool trainable = true);
  // Written by the host: one slot, or `slots` picked by `counter`.
  BufferId stream_in(std::string name, DType dtype, Shape shape, BufferId counter = kNone, int64_t slots = 1);
  BufferId stream_out(std::string name, DType dtype, Shape shape, BufferId counter = kNone, int64_t slots = 1);
  BufferId control(std::string name, DType dtype, Shape shape, bool persistent = false);
  BufferId cache(std::string name, Shape shape);

  // Makes `buffer` an output the host reads.
  void publish(BufferId buffer) { program.buffer(buffer).kind = BufferKind::stream_out; }

  DType compute() const { return compute_; }
  const OpTable& ops() const { return *ops_; }

  Program program;
  int32_t layer = -1;            // given to ops appended from now on
  Stage stage = Stage::forward;  // likewise

 private:
  DType output_dtype(const OpDef& def, const Op& op, size_t i) const;

  const OpTable* ops_;
  size_t section_ = 0;
  DType compute_;
};

}  // namespace centavo
