#include "model/hf/model_directory.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/errors.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/parallel.h"
#include "model/hf/family.h"
#include "model/hf/gpt2_tensors.h"
#include "model/hf/tensor_pieces.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kHead = "lm_head.weight";

using ShardOf = std::map<std::string, std::string>;  // tensor -> file

// A shard lies beside its index, whatever the index says.
void require_plain_name(const std::string& path, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string("/\\\0", 3)) != std::string::npos) {
    user_error("{}: the shard '{}' is not the name of a file beside it; correct the index", path, name);
  }
}

ShardOf read_index(const std::string& path) {
  ShardOf shards;
  try {
    const json index = parse_json(read_file(path));
    for (const auto& [tensor, file] : index.at("weight_map").items()) shards[tensor] = file.get<std::string>();
  } catch (const json::exception& error) {
    user_error("{} is not an index of shards ({}); restore it or write it again", path, error.what());
  }
  if (shards.empty()) user_error("{} names no tensor; restore it or write it again", path);
  for (const auto& [tensor, file] : shards) require_plain_name(path, file);
  return shards;
}

void add_file(ModelDirectory& model, const std::string& path) {
  model.files.emplace_back(path);
  for (const TensorView& tensor : model.files.back().tensors()) {
    if (!model.tensors.emplace(tensor.name, tensor).second) {
      user_error("{}: tensor {} stands in another shard too; remove one of them", path, tensor.name);
    }
  }
}

void open_shards(ModelDirectory& model, const std::string& index_path) {
  const ShardOf shards = read_index(index_path);
  std::set<std::string> names;
  for (const auto& [tensor, file] : shards) names.insert(file);
  for (const std::string& name : names) {
    const std::string path = model.path + "/" + name;
    add_file(model, path);
    for (const TensorView& tensor : model.files.back().tensors()) {
      const auto listed = shards.find(tensor.name);
      if (listed == shards.end() || listed->second != name) {
        user_error("{} does not say that {} holds {}; restore the index", index_path, name, tensor.name);
      }
    }
  }
  for (const auto& [tensor, file] : shards) {
    if (!model.tensors.contains(tensor)) user_error("{}/{} lacks {}, which its index names", model.path, file, tensor);
  }
}

void open_tensors(ModelDirectory& model) {
  const std::string whole = model.path + "/model.safetensors";
  const std::string index = whole + ".index.json";
  if (fs::exists(whole)) return add_file(model, whole);
  if (fs::exists(index)) return open_shards(model, index);
  const bool pickled = fs::exists(model.path + "/pytorch_model.bin");
  user_error("{} holds neither model.safetensors nor model.safetensors.index.json; {}", model.path,
             pickled ? "pytorch_model.bin can run code and is not read: save it again as safetensors"
                     : "name the directory of a model");
}

// The model without its head is saved without the prefix: GPT-2's own files are.
void add_gpt2_prefix(ModelDirectory& model) {
  const auto has_prefix = [](const auto& entry) { return entry.first.starts_with(kGpt2Prefix); };
  if (std::ranges::any_of(model.tensors, has_prefix)) return;
  std::map<std::string, TensorView, std::less<>> renamed;
  for (auto& [name, tensor] : model.tensors) {
    renamed.emplace(name == kHead ? name : kGpt2Prefix + name, tensor);
  }
  model.tensors = std::move(renamed);
}

void require_fit(const ModelDirectory& model, const TensorPiece& piece) {
  const auto found = model.tensors.find(piece.tensor);
  if (found == model.tensors.end()) {
    user_error(
        "{}: tensor {} of shape {} is missing{}", model.path, piece.tensor, to_string(piece.shape),
        piece.tensor == kHead ? "; correct the file, or set tie_word_embeddings in config.json" : "; correct it");
  }
  const TensorView& tensor = found->second;
  if (tensor.shape != piece.shape) {
    user_error("{}: tensor {} has shape {} where config.json says {}; correct one", model.path, piece.tensor,
               to_string(tensor.shape), to_string(piece.shape));
  }
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::bf16) {
    user_error("{}: tensor {} holds {}; centavo reads weights of F32 or BF16, convert it", model.path, piece.tensor,
               name_of(tensor.dtype));
  }
}

// A head beside a tied embedding is a second copy, or the flag is wrong.
void require_same_head(const ModelDirectory& model, const std::string& embedding_name) {
  const auto head = model.tensors.find(kHead);
  if (!model.config.model.tie_word_embeddings || head == model.tensors.end()) return;
  const TensorView& embedding = model.tensors.at(embedding_name);
  if (head->second.dtype == embedding.dtype && std::ranges::equal(head->second.bytes, embedding.bytes)) return;
  user_error("{}: config.json says tie_word_embeddings, and {} differs from {}; set it to false or remove the tensor",
             model.path, kHead, embedding_name);
}

// A tied head's second copy, and what older writers saved beside the weights: rotary angles and causal masks.
bool is_passed_over(const ModelDirectory& model, const std::string& name) {
  if (name == kHead && model.config.model.tie_word_embeddings) return true;
  if (family_of(model.config.model) == HfFamily::gpt2) {
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
  }
  return name.ends_with(".rotary_emb.inv_freq");
}

void check_tensors(const ModelDirectory& model) {
  const std::vector<TensorPiece> pieces = tensor_pieces(model.config.model);
  std::set<std::string> expected;
  for (const TensorPiece& piece : pieces) {
    require_fit(model, piece);
    expected.insert(piece.tensor);
  }
  for (const auto& [name, tensor] : model.tensors) {
    if (expected.contains(name) || is_passed_over(model, name)) continue;
    user_error("{}: tensor {} is not part of the model that config.json describes{}; correct one", model.path, name,
               did_you_mean(name, {expected.begin(), expected.end()}));
  }
  require_same_head(model, std::ranges::find(pieces, "embed.weight", &TensorPiece::parameter)->tensor);
}

std::string precision_of(const ModelDirectory& model) {
  // What norms multiply and add is f32 in either.
  const auto is_of_norm = [](const std::string& parameter) {
    return parameter.ends_with("norm.weight") || parameter.ends_with("norm.bias");
  };
  const auto is_bf16 = [&](const TensorPiece& piece) {
    return is_of_norm(piece.parameter) || model.tensors.find(piece.tensor)->second.dtype == DType::bf16;
  };
  return std::ranges::all_of(tensor_pieces(model.config.model), is_bf16) ? "bf16" : "fp32";
}

constexpr int64_t kGrain = 1 << 16;  // elements a thread converts at least

constexpr int64_t kPiece = 1 << 21;  // elements converted before they are written

// Bytes of a mapped file need not be aligned.
template <class From, class To>
void convert_elements(const std::byte* from, std::byte* to, int64_t count) {
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      From value;
      std::memcpy(&value, from + i * static_cast<int64_t>(sizeof value), sizeof value);
      const To converted = convert<To>(value);
      std::memcpy(to + i * static_cast<int64_t>(sizeof converted), &converted, sizeof converted);
    }
  });
}

template <class From, class To>
void write_converted(Machine& machine, const std::string& buffer, int64_t first, std::span<const std::byte> from) {
  const auto count = static_cast<int64_t>(from.size() / sizeof(From));
  std::vector<To> room(static_cast<size_t>(std::min(count, kPiece)));
  for (int64_t done = 0; done < count; done += kPiece) {
    const auto piece =
        std::as_writable_bytes(std::span(room).first(static_cast<size_t>(std::min(count - done, kPiece))));
    convert_elements<From, To>(from.data() + static_cast<size_t>(done) * sizeof(From), piece.data(),
                               std::min(count - done, kPiece));
    machine.write_elements(buffer, first + done, piece);
  }
}

// The tensor [in, out] as rows of the parameter [out, in], as many at a time as a piece holds.
template <class From, class To>
void write_transposed(Machine& machine, const std::string& buffer, const TensorView& tensor) {
  const int64_t in = tensor.shape[0];
  const int64_t out = tensor.shape[1];
  const int64_t rows = std::clamp<int64_t>(kPiece / in, 1, out);
  std::vector<To> room(static_cast<size_t>(rows * in));
  for (int64_t first = 0; first < out; first += rows) {
    const int64_t count = std::min(rows, out - first);
    parallel_ranges(in, std::max<int64_t>(1, kGrain / count), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t row = 0; row < count; ++row) {
          From value;
          std::memcpy(&value, tensor.bytes.data() + (i * out + first + row) * static_cast<int64_t>(sizeof value),
                      sizeof value);
          room[static_cast<size_t>(row * in + i)] = convert<To>(value);
        }
      }
    });
    machine.write_elements(buffer, first * in, std::as_bytes(std::span(room).first(static_cast<size_t>(count * in))));
  }
}

void load_piece(Machine& machine, const std::string& buffer, const TensorPiece& piece, const TensorView& tensor) {
  const DType dtype = machine.program().buffer(machine.program().find(buffer)).dtype;
  if (dtype == tensor.dtype && !piece.transposed) {
    return machine.write_elements(buffer, piece.first_element(), tensor.bytes);
  }
  visit_compute(tensor.dtype, [&](auto from_tag) {
    visit_compute(dtype, [&](auto to_tag) {
      using From = typename decltype(from_tag)::type;
      using To = typename decltype(to_tag)::type;
      if (piece.transposed) return write_transposed<From, To>(machine, buffer, tensor);
      write_converted<From, To>(machine, buffer, piece.first_element(), tensor.bytes);
    });
  });
}

}  // namespace

ModelDirectory open_model(const std::string& directory) {
  if (!fs::is_directory(directory)) user_error("{} is not a directory; name the directory of a model", directory);
  const std::string config_path = directory + "/config.json";
  if (!fs::exists(config_path)) {
    user_error("{} holds no config.json; name the directory of a model as transformers writes it", directory);
  }
  ModelDirectory model{.path = directory,
                       .config = parse_config_json(read_file(config_path), config_path),
                       .precision = {},
                       .files = {},
                       .tensors = {}};
  open_tensors(model);
  if (family_of(model.config.model) == HfFamily::gpt2) add_gpt2_prefix(model);
  check_tensors(model);
  model.precision = precision_of(model);
  return model;
}

void load_parameters(Machine& machine, const ModelDirectory& model) {
  const Program& program = machine.program();
  for (const TensorPiece& piece : tensor_pieces(model.config.model)) {
    const BufferId id = program.find(piece.parameter);
    CHECK(id != kNone, "the machine has no parameter {}", piece.parameter);
    if (program.buffer(id).borrowed) continue;
    const TensorView& tensor = model.tensors.find(piece.tensor)->second;
    load_piece(machine, piece.parameter, piece, tensor);
    const std::string master = piece.parameter + ".master";
    if (program.find(master) != kNone) load_piece(machine, master, piece, tensor);
  }
}

}  // namespace centavo
