// What may be replayed of a micro-batch, and what follows from each choice: the bookkeeping behind passes/recompute.h.
//
// The state is a form for each forward op: not replayed, replayed in its short form, or replayed whole. From it follows
// which tensors live across the border between forward and backward. A step adds replays so that one more tensor, and
// what the same replays give back, need not be kept.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "passes/recompute.h"

namespace centavo {

class Replays {
 public:
  enum class Form : uint8_t { none, shortened, whole };     // in the order of what is given back
  enum class Work : uint8_t { light, attention, product };  // what an op is made of, in the order of its price

  struct Step {
    BufferId tensor = kNone;
    std::map<size_t, Form> replays;  // forward ops by index in the section, with the form they get
    std::vector<BufferId> dropped;   // `tensor`, and what comes back with it
    int64_t bytes = 0;
    double us = 0;
  };

  // Program and section must outlive this.
  Replays(const Program& program, const OpTable& ops, const Section& micro, const MachineRates& rates);

  // Tensors kept that replays might give back, in the order of the program.
  std::vector<BufferId> droppable() const;
  // What dropping `id` takes with ops no heavier than `heaviest`; nothing when its layer cannot give it back.
  std::optional<Step> step_for(BufferId id, Work heaviest) const;
  // Returns the layers in which this may have changed what can be dropped.
  std::set<int32_t> take(const Step& step);

  // Does it live across the border?
  bool alive(BufferId id) const { return tensor(id).alive; }
  // Forward ops that write or add to it, in order.
  const std::vector<size_t>& producers(BufferId id) const { return tensor(id).producers; }
  int32_t layer_of(BufferId id) const;  // of its producers; -1 without
  Form form(size_t op) const { return forms_[op]; }
  const Op& in_form(size_t op, Form form) const;

 private:
  struct Candidate {  // an op; only forward ops can be replayed
    bool replayable = false;
    Work work = Work::light;
    int32_t layer = -1;
    std::optional<Op> short_form;
    double whole_us = 0;
    double short_us = 0;
  };

  struct Tensor {  // a root buffer
    std::vector<size_t> producers;
    bool steady = true;  // one value: forward producers come first, then only readers
    bool read = false;
    bool pinned = false;  // the backward, or a replay, of another layer reads it
    bool alive = false;
  };

  Tensor& tensor(BufferId id) { return tensors_[static_cast<size_t>(id)]; }
  const Tensor& tensor(BufferId id) const { return tensors_[static_cast<size_t>(id)]; }

  void note_accesses(size_t op);
  void note_backward_reads(const Op& op);
  Candidate candidate(const OpTable& ops, const Op& op, const MachineRates& rates) const;

  Form form_in(const Step& step, size_t op) const;
  bool gives(size_t op, Form form, BufferId id) const;
  bool at_hand(BufferId id, int32_t layer, const Step& step) const;
  bool give_back(BufferId id, int32_t layer, Work heaviest, Step& step) const;
  bool replay(size_t op, BufferId id, int32_t layer, Work heaviest, Step& step) const;
  double price(size_t op, Form form) const;

  const Program& program_;
  const Section& micro_;
  std::vector<Tensor> tensors_;        // by buffer
  std::vector<Candidate> candidates_;  // by index in the section
  std::vector<Form> forms_;            // likewise
};

// Takes every tensor that ops no heavier than `heaviest` give back.
std::vector<Replays::Step> take_all(Replays& replays, Replays::Work heaviest);
// Takes the step that saves most bytes per microsecond, at most `most` times; ties: the lowest layer.
std::vector<Replays::Step> take_best(Replays& replays, size_t most);

}  // namespace centavo
