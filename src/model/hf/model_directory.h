// Model directories as Hugging Face's transformers writes and loads them.
//
//   config.json              config_json.h
//   model.safetensors        llama_tensors.h, gpt2_tensors.h; or model.safetensors.index.json and its shards
//   tokenizer.json           as given
//   tokenizer_config.json    AutoTokenizer makes a PreTrainedTokenizerFast of it
//   generation_config.json   the tokens that begin and end a text
//   README.md                model card
//
// Errors: a directory or file that is missing or damaged, tensors that are missing, unexpected, or of another shape or
// dtype than the configuration says are UserErrors that name file, tensor and defect; a failed system call is an
// IoError.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "machine/machine.h"
#include "model/config.h"
#include "model/hf/config_json.h"
#include "model/hf/safetensors.h"

namespace centavo {

struct SpecialToken {
  int64_t id = 0;
  std::string text;
};

struct ExportedTokenizer {
  std::string json;                         // tokenizer.json
  std::optional<SpecialToken> end_of_text;  // begins and ends every document of the training
};

// Writes the parameters that `machine` holds, in the dtype of its matrices: a model that computes in bf16 is exported
// in bf16, with the matrices that were validated. Its parameters of norms, which were f32, are rounded, as a reader of
// one dtype would do; so losses differ in the last digits. f32 master copies stay in the checkpoints. The tensors are
// read from the machine in pieces. A tied head is left out. Equal parameters give equal bytes.
//
// The files appear whole: they are written to `directory`.export.tmp, which then takes the name. An earlier export at
// `directory` is replaced; anything else in it is a UserError, and nothing is changed.
void export_model(const Machine& machine, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory);

// The same from parameters by the program's names, such as a checkpoint's tensors, which may be more and lie in pieces:
// they are written from where they are, however large the model is. UserError when one is missing or too small.
void export_model(std::span<const TensorParts> parameters, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory);

// A checked directory: every tensor of the configuration is there, once, in its shape, as F32 or BF16.
struct ModelDirectory {
  std::string path;
  ConfigJson config;
  std::string precision;  // in which to run it: bf16 when every tensor but those of norms is, else fp32
  std::vector<SafetensorsFile> files;
  std::map<std::string, TensorView, std::less<>> tensors;  // by Hugging Face's names, as long as `files` lives
};

// Passes over what older writers add: rotary_emb.inv_freq, GPT-2's masks attn.bias and attn.masked_bias, and a tied
// head that equals the embedding. GPT-2's tensors may lack the prefix `transformer.`, all of them; `tensors` has it.
ModelDirectory open_model(const std::string& directory);

// Writes every parameter that the machine owns, and its f32 master copy where there is one, each converted to the
// dtype it has there (bf16 rounds to nearest). The machine's program must be one of `model.config.model`.
void load_parameters(Machine& machine, const ModelDirectory& model);

}  // namespace centavo
