#include "passes/differentiate.h"

#include <algorithm>

namespace centavo {

Program differentiate(Program program, const OpTable& ops, const std::string& section,
                      const std::vector<std::string>& seeds) {
  const auto it = std::ranges::find(program.sections, section, &Section::name);
  CHECK(it != program.sections.end(), "no section {}", section);
  const auto index = static_cast<size_t>(it - program.sections.begin());
  const std::vector<Op> forward = it->ops;

  Gradients gradients(program, ops, index);
  gradients.find_wanted(forward);
  for (const std::string& seed : seeds) gradients.seed(program.find(seed));
  std::erase_if(program.sections[index].ops, [&](const Op& op) {
    return ops.at(op.kind).backward_replaces_forward &&
           std::ranges::any_of(op.inputs, [&](BufferId id) { return gradients.wanted(id); });
  });
  for (auto op = forward.rbegin(); op != forward.rend(); ++op) gradients.differentiate_op(*op);
  return program;
}

}  // namespace centavo
