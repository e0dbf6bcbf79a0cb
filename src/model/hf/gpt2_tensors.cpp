#include "model/hf/gpt2_tensors.h"

namespace centavo {
namespace {

class Table {
 public:
  void matrix(const std::string& parameter, const std::string& tensor, int64_t rows, int64_t columns) {
    pieces_.push_back({tensor, {rows, columns}, parameter});
  }

  // Weight and bias of a norm.
  void norm(const std::string& parameter, const std::string& tensor, int64_t width) {
    pieces_.push_back({tensor + ".weight", {width}, parameter + ".weight"});
    pieces_.push_back({tensor + ".bias", {width}, parameter + ".bias"});
  }

  // Weight, stored [in, out], and bias of a projection.
  void projection(const std::string& parameter, const std::string& tensor, int64_t in, int64_t out) {
    pieces_.push_back({tensor + ".weight", {in, out}, parameter + ".weight", 0, true});
    pieces_.push_back({tensor + ".bias", {out}, parameter + ".bias"});
  }

  std::vector<TensorPiece> take() { return std::move(pieces_); }

 private:
  std::vector<TensorPiece> pieces_;
};

void add_layer(Table& table, const ModelConfig& c, int64_t layer) {
  const std::string ours = fmt::format("layers.{}.", layer);
  const std::string theirs = fmt::format("{}h.{}.", kGpt2Prefix, layer);
  const int64_t width = c.hidden_size;
  table.norm(ours + "attn_norm", theirs + "ln_1", width);
  table.projection(ours + "qkv", theirs + "attn.c_attn", width, 3 * width);
  table.projection(ours + "o", theirs + "attn.c_proj", width, width);
  table.norm(ours + "mlp_norm", theirs + "ln_2", width);
  table.projection(ours + "up", theirs + "mlp.c_fc", width, c.intermediate_size);
  table.projection(ours + "down", theirs + "mlp.c_proj", c.intermediate_size, width);
}

}  // namespace

std::vector<TensorPiece> gpt2_tensors(const ModelConfig& c) {
  const std::string prefix = kGpt2Prefix;
  Table table;
  table.matrix("embed.weight", prefix + "wte.weight", c.vocab_size, c.hidden_size);
  table.matrix("position_embed.weight", prefix + "wpe.weight", c.max_position_embeddings, c.hidden_size);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) add_layer(table, c, layer);
  table.norm("norm", prefix + "ln_f", c.hidden_size);
  if (!c.tie_word_embeddings) table.matrix("head.weight", "lm_head.weight", c.vocab_size, c.hidden_size);
  return table.take();
}

}  // namespace centavo
