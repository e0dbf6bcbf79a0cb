// A model directory from a checkpoint, without training on.
#pragma once

#include <cstdint>
#include <string>

#include "data/tokenizer.h"
#include "model/hf/model_directory.h"
#include "train/checkpoint_files.h"

namespace centavo {

// What export_model writes of a tokenizer.
ExportedTokenizer exported(const Tokenizer& tokenizer);

// The model of a checkpoint that was read, as export_model of a machine (model/hf/model_directory.h). Any number of
// ranks may have written it. Tensors go from its mapped files to the model's file; memory does not grow with the model.
void export_model(const Checkpoint& checkpoint, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory);

struct ExportedCheckpoint {
  std::string checkpoint;  // its directory
  int64_t step = 0;
};

// `from` is a checkpoint's directory, or a run's, of which the newest checkpoint is taken. The tokenizer is the file
// `tokenizer`; when that is empty, RUN/data/tokenizer.json; and where there is none and the vocabulary is 256, bytes.
//
// UserError when there is no checkpoint, when it is damaged, when there is no tokenizer or it knows more tokens than
// the model, and those of export_model.
ExportedCheckpoint export_checkpoint(const std::string& from, const std::string& tokenizer,
                                     const std::string& directory);

}  // namespace centavo
