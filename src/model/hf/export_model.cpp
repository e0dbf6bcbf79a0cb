#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>

#include "base/errors.h"
#include "base/json.h"
#include "model/hf/family.h"
#include "model/hf/model_directory.h"
#include "model/hf/rounded.h"
#include "model/hf/tensor_pieces.h"
#include "model/hf/transposed.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::array<const char*, 6> kFiles = {"config.json",           "generation_config.json", "model.safetensors",
                                               "tokenizer_config.json", "tokenizer.json",         "README.md"};

[[noreturn]] void io_failure(const char* call, const std::string& path, const std::error_code& failure) {
  errno = failure.value();
  io_error(call, path);
}

// Its own name without a slash at the end, and behind links: the directory is swapped, not a link to it.
std::string resolved(const std::string& directory) {
  std::error_code failure;
  fs::path path = fs::weakly_canonical(fs::absolute(directory), failure);
  if (failure) io_failure("realpath", directory, failure);
  if (!path.has_filename()) path = path.parent_path();
  return path.string();
}

// A file of an export, or what an interrupted write of one left.
bool is_exported(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  const auto names = [&](const std::string& file) {
    return name == file || (name.starts_with(file + ".") && name.ends_with(".tmp"));
  };
  return std::ranges::any_of(kFiles, names) && entry.symlink_status().type() != fs::file_type::directory;
}

// UserError when the directory holds what no export writes.
void require_only_exported(const std::string& directory) {
  std::error_code failure;
  if (!fs::exists(directory, failure)) return;
  if (!fs::is_directory(directory)) user_error("{} is a file; export to another directory", directory);
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end; entry.increment(failure)) {
    if (is_exported(*entry)) continue;
    user_error("{} holds {}, which is no part of an export; export to another directory", directory,
               entry->path().filename().string());
  }
  if (failure) io_failure("readdir", directory, failure);
}

// Only what require_only_exported lets pass; nothing happens when there is no such directory.
void remove_exported(const std::string& directory) {
  std::error_code failure;
  if (!fs::exists(directory, failure)) return;
  for (fs::directory_iterator entry(directory, failure), end; !failure && entry != end; entry.increment(failure)) {
    if (is_exported(*entry)) fs::remove(entry->path());
  }
  if (!failure) fs::remove(directory, failure);
  if (failure) io_failure("remove", directory, failure);
}

std::vector<TensorParts> parameters_of(const Machine& machine) {
  std::vector<TensorParts> parameters;
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::parameter) continue;
    parameters.push_back({b.name, b.dtype, b.shape, {elements_of(machine, b.name, 0, b.elements())}});
  }
  return parameters;
}

// Bytes [first, first + size) of the parts end to end; fewer when they end before.
std::vector<ByteSource> cut_out(std::span<const ByteSource> parts, size_t first, size_t size) {
  std::vector<ByteSource> cut;
  for (const ByteSource& part : parts) {
    if (size == 0) break;
    const size_t skipped = std::min(first, part.size());
    const size_t taken = std::min(size, part.size() - skipped);
    if (taken > 0) cut.push_back(part.part(skipped, taken));
    first -= skipped;
    size -= taken;
  }
  return cut;
}

// A tensor of Hugging Face's as a part of a parameter's bytes.
TensorParts exported_tensor(const TensorParts& parameter, const TensorPiece& piece) {
  const int64_t elements = element_count(piece.shape);
  if (piece.first_element() + elements > element_count(parameter.shape)) {
    user_error("parameter {} of shape {} is too small for {} of shape {}; the model is of another shape",
               piece.parameter, to_string(parameter.shape), piece.tensor, to_string(piece.shape));
  }
  if (piece.transposed) {
    const MatrixShape shape{piece.shape[1], piece.shape[0]};
    return {piece.tensor, parameter.dtype, piece.shape, {transposed(parameter.parts, shape, parameter.dtype)}};
  }
  const auto size = static_cast<size_t>(size_of(parameter.dtype));
  return {piece.tensor, parameter.dtype, piece.shape,
          cut_out(parameter.parts, static_cast<size_t>(piece.first_element()) * size,
                  static_cast<size_t>(elements) * size)};
}

// The dtype of its matrices.
DType dtype_of(const std::vector<TensorParts>& tensors) {
  const auto matrix = std::ranges::find_if(tensors, [](const TensorParts& t) { return t.shape.size() > 1; });
  CHECK(matrix != tensors.end(), "a model without a matrix");
  return matrix->dtype;
}

std::vector<TensorParts> exported_tensors(std::span<const TensorParts> parameters, const ModelConfig& model) {
  std::map<std::string_view, const TensorParts*> named;
  for (const TensorParts& parameter : parameters) named[parameter.name] = &parameter;
  std::vector<TensorParts> tensors;
  for (const TensorPiece& piece : tensor_pieces(model)) {
    const auto found = named.find(piece.parameter);
    if (found == named.end()) user_error("parameter {} is missing; the model is of another shape", piece.parameter);
    tensors.push_back(exported_tensor(*found->second, piece));
  }
  // The dtype of the matrices is that of all.
  const DType dtype = dtype_of(tensors);
  for (TensorParts& tensor : tensors) {
    if (tensor.dtype == dtype) continue;
    if (tensor.dtype != DType::f32 || dtype != DType::bf16) {
      user_error("{} is {} in a model of {}, which no export holds; it was not written by centavo", tensor.name,
                 name_of(tensor.dtype), name_of(dtype));
    }
    tensor = {tensor.name, dtype, tensor.shape, {rounded_to_bf16(std::move(tensor.parts))}};
  }
  return tensors;
}

std::string tokenizer_config(const ModelConfig& model, const ExportedTokenizer& tokenizer) {
  ordered_json j;
  j["tokenizer_class"] = "PreTrainedTokenizerFast";
  j["model_max_length"] = model.max_position_embeddings;
  j["clean_up_tokenization_spaces"] = false;
  j["model_input_names"] = {"input_ids", "attention_mask"};
  if (tokenizer.end_of_text) {
    j["bos_token"] = tokenizer.end_of_text->text;
    j["eos_token"] = tokenizer.end_of_text->text;
  }
  return json_text(j, 2) + "\n";
}

std::string generation_config(const ExportedTokenizer& tokenizer) {
  const ordered_json id = tokenizer.end_of_text ? ordered_json(tokenizer.end_of_text->id) : ordered_json();
  const ordered_json j = {
      {"bos_token_id", id}, {"eos_token_id", id}, {"do_sample", true}, {"transformers_version", "5.0.0"}};
  return json_text(j, 2) + "\n";
}

int64_t parameter_count(const std::vector<TensorParts>& tensors) {
  int64_t count = 0;
  for (const TensorParts& tensor : tensors) count += element_count(tensor.shape);
  return count;
}

const char* in_words(HfFamily family) {
  switch (family) {
    case HfFamily::llama: return "Llama";
    case HfFamily::mistral: return "Mistral";
    case HfFamily::qwen2: return "Qwen2";
    case HfFamily::gpt2: return "GPT-2";
  }
  CHECK(false, "a family that is none");
  return "";
}

std::string model_card(const ModelConfig& model, const ExportedTokenizer& tokenizer,
                       const std::vector<TensorParts>& tensors) {
  const std::string start = tokenizer.end_of_text
                                ? fmt::format("Documents began with `{0}` in training: put it before a prompt.\n",
                                              tokenizer.end_of_text->text)
                                : "Documents followed one another without a mark in training.\n";
  return fmt::format(
      "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- centavo\n---\n"
      "# A {} model trained with centavo\n\n"
      "| | |\n|---|---|\n"
      "| parameters | {} |\n| dtype | {} |\n| layers | {} |\n| hidden size | {} |\n| feed-forward | {} |\n"
      "| heads | {} query, {} key and value, of {} |\n| vocabulary | {} |\n| context | {} tokens |\n"
      "| embeddings | {} |\n\n"
      "{}\n"
      "```python\n"
      "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
      "tokenizer = AutoTokenizer.from_pretrained(\"DIRECTORY\")\n"
      "model = AutoModelForCausalLM.from_pretrained(\"DIRECTORY\")\n"
      "```\n",
      in_words(family_of(model)), parameter_count(tensors), name_of(tensors.front().dtype), model.num_hidden_layers,
      model.hidden_size, model.intermediate_size, model.num_attention_heads, model.num_key_value_heads, model.head_dim,
      model.vocab_size, model.max_position_embeddings, model.tie_word_embeddings ? "tied" : "separate", start);
}

ConfigJson config_of(const ModelConfig& model, const ExportedTokenizer& tokenizer) {
  ConfigJson config{.model = model, .bos_token_id = std::nullopt, .eos_token_ids = {}};
  if (tokenizer.end_of_text) {
    config.bos_token_id = tokenizer.end_of_text->id;
    config.eos_token_ids = {tokenizer.end_of_text->id};
  }
  return config;
}

}  // namespace

void export_model(const Machine& machine, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory) {
  export_model(parameters_of(machine), model, tokenizer, directory);
}

void export_model(std::span<const TensorParts> parameters, const ModelConfig& model, const ExportedTokenizer& tokenizer,
                  const std::string& directory) {
  require_exportable(model);
  const std::vector<TensorParts> tensors = exported_tensors(parameters, model);
  const std::string config = print_config_json(config_of(model, tokenizer), tensors.front().dtype);
  const std::string target = resolved(directory);
  const std::string unfinished = target + ".export.tmp";
  require_only_exported(target);
  require_only_exported(unfinished);
  remove_exported(unfinished);
  make_directories(unfinished);
  write_file_atomic(unfinished + "/config.json", config);
  write_file_atomic(unfinished + "/generation_config.json", generation_config(tokenizer));
  write_file_atomic(unfinished + "/tokenizer.json", tokenizer.json);
  write_file_atomic(unfinished + "/tokenizer_config.json", tokenizer_config(model, tokenizer));
  write_file_atomic(unfinished + "/README.md", model_card(model, tokenizer, tensors));
  write_safetensors(unfinished + "/model.safetensors", tensors, {});
  install_directory(unfinished, target);
  remove_exported(unfinished);
}

}  // namespace centavo
