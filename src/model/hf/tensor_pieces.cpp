#include "model/hf/tensor_pieces.h"

#include "model/hf/family.h"
#include "model/hf/gpt2_tensors.h"
#include "model/hf/llama_tensors.h"

namespace centavo {

std::vector<TensorPiece> tensor_pieces(const ModelConfig& model) {
  return family_of(model) == HfFamily::gpt2 ? gpt2_tensors(model) : llama_tensors(model);
}

}  // namespace centavo
