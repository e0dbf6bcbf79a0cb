#include "train/run_state.h"

#include <algorithm>

#include "program/tensors.h"

namespace centavo {
namespace {

constexpr std::string_view kOwnCounter = "micro_step";

void require_stored(const Checkpoint& checkpoint, const LogicalTensor& wanted) {
  const StoredTensor* stored = checkpoint.find(wanted.name);
  if (stored == nullptr)
    user_error("the checkpoint lacks {}; it belongs to another model, or to another centavo", wanted.name);
  if (stored->dtype == wanted.dtype && stored->shape == wanted.shape) return;
  user_error("the checkpoint's {} is {}{}, this run's is {}{}; it belongs to another model, or to another centavo",
             wanted.name, name_of(stored->dtype), to_string(stored->shape), name_of(wanted.dtype),
             to_string(wanted.shape));
}

void require_same_tensors(const Checkpoint& checkpoint, const std::vector<LogicalTensor>& wanted) {
  for (const LogicalTensor& tensor : wanted) {
    if (tensor.name != kOwnCounter) require_stored(checkpoint, tensor);
  }
  for (const StoredTensor& stored : checkpoint.tensors) {
    if (stored.name == kOwnCounter || std::ranges::count(wanted, stored.name, &LogicalTensor::name) > 0) continue;
    user_error(
        "the checkpoint holds {}, which this run does not have; it belongs to another model, or to another centavo",
        stored.name);
  }
}

void copy_part(Machine& machine, const TensorPart& part, const StoredTensor& stored) {
  const std::string& buffer = machine.program().buffer(part.buffer).name;
  const int64_t size = size_of(part.dtype);
  for (const StoredPiece& piece : stored.pieces) {
    const int64_t begin = std::max(part.begin, piece.begin);
    const int64_t end = std::min(part.end, piece.end);
    if (begin >= end) continue;
    const auto bytes = piece.bytes.subspan(static_cast<size_t>((begin - piece.begin) * size),
                                           static_cast<size_t>((end - begin) * size));
    machine.write_elements(buffer, part.at + (begin - part.begin), bytes);
  }
}

}  // namespace

std::vector<StatePart> state_parts(const Machine& machine) {
  std::vector<StatePart> parts;
  for (const TensorPart& part : tensor_parts(machine.program())) {
    if (part.tensor == kOwnCounter) continue;
    const std::string& buffer = machine.program().buffer(part.buffer).name;
    parts.push_back({part.tensor, part.dtype, part.shape, part.begin, part.end,
                     elements_of(machine, buffer, part.at, part.elements())});
  }
  return parts;
}

void restore(Machine& machine, const Checkpoint& checkpoint) {
  require_same_tensors(checkpoint, logical_tensors(machine.program()));
  for (const TensorPart& part : tensor_parts(machine.program())) {
    if (part.tensor != kOwnCounter) copy_part(machine, part, *checkpoint.find(part.tensor));
  }
}

}  // namespace centavo
