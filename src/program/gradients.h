// What a gradient rule works with: the gradients known so far, and the means to add to them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Gradient rules are called once per forward op, last op first.
class Gradients {
 public:
  Gradients(Program& program, const OpTable& ops, size_t section);

  // The gradient of a value as summed so far; kNone when nothing that matters depends on the value.
  BufferId of(BufferId value) const;
  // Does a trainable parameter lie in or behind the value?
  bool wanted(BufferId value) const;

  // An output binding that contributes to the gradient of `value`: absent when it is not wanted.
  Output into(BufferId value);
  // A new gradient buffer shaped like `value`, contributed nowhere yet.
  Output fresh(BufferId value);
  // The gradient of `value` gets `gradient` as a further term (shared when it is the first).
  void contribute(BufferId value, BufferId gradient);
  // `gradient` already includes what `of(value)` returned: it takes its place.
  void replace(BufferId value, BufferId gradient);

  // Appends a backward op, in the layer of the op being differentiated. Does nothing when no output is present.
  void emit(std::string_view kind, std::vector<BufferId> inputs, std::vector<Output> outputs,
            std::map<std::string, Attribute> attributes = {});

  const Program& program() const { return *program_; }

  // For the pass that drives the rules: marks what depends on trainable parameters; declares that the gradient of a
  // value comes from outside; applies the rule of one op.
  void find_wanted(const std::vector<Op>& forward);
  void seed(BufferId value);
  void differentiate_op(const Op& op);

 private:
  struct Known {
    BufferId buffer = kNone;
    bool shared = false;  // other gradients use the same buffer: never add into it
  };

  BufferId declare(const std::string& name, BufferId like);
  std::string unused_name(const std::string& base) const;

  Program* program_;
  const OpTable* ops_;
  size_t section_;
  std::set<BufferId> wanted_;
  std::map<BufferId, Known> known_;
  // Temporaries handed out by `into` because the gradient so far is shared: temporary -> value.
  std::map<BufferId, BufferId> pending_;
  int32_t layer_ = -1;
  int32_t next_id_ = 0;
};

}  // namespace centavo
