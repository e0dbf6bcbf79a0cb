#include "model/hf/llama_tensors.h"

namespace centavo {
namespace {

struct Part {
  std::string tensor;
  int64_t rows;
};

class Table {
 public:
  // `parts` lie end to end in `parameter`; `columns` 0 means vectors.
  void add(const std::string& parameter, int64_t columns, const std::vector<Part>& parts) {
    int64_t row = 0;
    for (const Part& part : parts) {
      const Shape shape = columns > 0 ? Shape{part.rows, columns} : Shape{part.rows};
      pieces_.push_back({part.tensor, shape, parameter, row});
      row += part.rows;
    }
  }

  std::vector<TensorPiece> take() { return std::move(pieces_); }

 private:
  std::vector<TensorPiece> pieces_;
};

void add_layer(Table& table, const ModelConfig& c, int64_t layer) {
  const std::string ours = fmt::format("layers.{}.", layer);
  const std::string theirs = fmt::format("model.layers.{}.", layer);
  const std::string attention = theirs + "self_attn.";
  const std::string mlp = theirs + "mlp.";
  const int64_t q_rows = c.num_attention_heads * c.head_dim;
  const int64_t kv_rows = c.num_key_value_heads * c.head_dim;
  const auto qkv = [&](const std::string& kind) {
    return std::vector<Part>{{attention + "q_proj." + kind, q_rows},
                             {attention + "k_proj." + kind, kv_rows},
                             {attention + "v_proj." + kind, kv_rows}};
  };
  const int64_t width = c.hidden_size;
  table.add(ours + "attn_norm.weight", 0, {{theirs + "input_layernorm.weight", width}});
  table.add(ours + "qkv.weight", width, qkv("weight"));
  if (c.attention_bias) table.add(ours + "qkv.bias", 0, qkv("bias"));
  table.add(ours + "o.weight", q_rows, {{attention + "o_proj.weight", width}});
  if (c.attention_output_bias) table.add(ours + "o.bias", 0, {{attention + "o_proj.bias", width}});
  table.add(ours + "mlp_norm.weight", 0, {{theirs + "post_attention_layernorm.weight", width}});
  const auto gate_up = [&](const std::string& kind) {
    return std::vector<Part>{{mlp + "gate_proj." + kind, c.intermediate_size},
                             {mlp + "up_proj." + kind, c.intermediate_size}};
  };
  table.add(ours + "gate_up.weight", width, gate_up("weight"));
  if (c.mlp_bias) table.add(ours + "gate_up.bias", 0, gate_up("bias"));
  table.add(ours + "down.weight", c.intermediate_size, {{mlp + "down_proj.weight", width}});
  if (c.mlp_bias) table.add(ours + "down.bias", 0, {{mlp + "down_proj.bias", width}});
}

}  // namespace

std::vector<TensorPiece> llama_tensors(const ModelConfig& model) {
  Table table;
  table.add("embed.weight", model.hidden_size, {{"model.embed_tokens.weight", model.vocab_size}});
  for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer) add_layer(table, model, layer);
  table.add("norm.weight", 0, {{"model.norm.weight", model.hidden_size}});
  if (!model.tie_word_embeddings) {
    table.add("head.weight", model.hidden_size, {{"lm_head.weight", model.vocab_size}});
  }
  return table.take();
}

}  // namespace centavo
