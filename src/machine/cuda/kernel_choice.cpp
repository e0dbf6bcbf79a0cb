// Which kernels a program gets on a GPU, in words.

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "machine/cuda/cuda_machine.h"
#include "machine/make_machine.h"
#include "ops/attention/attention.h"

namespace centavo {
namespace {

// The choices for calls of one kind, each once: layers may differ, by their windows.
std::string choices_of(std::string_view kind, const Program& program, const CudaTraits& gpu) {
  std::vector<std::string> choices;
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      if (op.kind != kind) continue;
      const std::string choice = attention_cuda_choice(OpView(program, op), gpu);
      if (std::ranges::count(choices, choice) == 0) choices.push_back(choice);
    }
  }
  std::string text;
  for (const std::string& choice : choices) text += (text.empty() ? "" : " and ") + choice;
  return text;
}

}  // namespace

std::string attention_choice(const Program& program, const CudaTraits& gpu) {
  std::string forward = choices_of("attention", program, gpu);
  const std::string backward = choices_of("attention_grad", program, gpu);
  if (backward.empty() || forward == backward) return forward;
  return fmt::format("{}; backward {}", forward, backward);
}

std::string attention_choice(const Machine& machine) {
  const auto& cuda = dynamic_cast<const CudaMachine&>(machine);
  return attention_choice(cuda.program(), cuda.traits());
}

std::string fused_choice(const Machine& machine) {
  const auto& cuda = dynamic_cast<const CudaMachine&>(machine);
  std::string text;
  for (const auto& [kind, ways] : cuda.traits().libraries->ways) {
    text += fmt::format("{}{} {}", text.empty() ? "" : "; ", kind, fmt::join(ways, " and "));
  }
  return text;
}

}  // namespace centavo
