// Which part of which parameter of the program is which tensor of a Hugging Face model.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "program/program.h"

namespace centavo {

// Rows [first_row, first_row + shape[0]) of a parameter, or the transpose of a whole one.
struct TensorPiece {
  std::string tensor;       // Hugging Face's name
  Shape shape;              // of the tensor
  std::string parameter;    // the program's name
  int64_t first_row = 0;    // of the parameter
  bool transposed = false;  // the tensor's rows are the parameter's columns

  // Where the piece begins in the parameter, in elements.
  int64_t first_element() const { return first_row * (element_count(shape) / shape[0]); }
};

// In the order of the parameters; the pieces of one parameter tile it from its first row to its last. UserError when no
// family holds the model (family.h).
std::vector<TensorPiece> tensor_pieces(const ModelConfig& model);

}  // namespace centavo
