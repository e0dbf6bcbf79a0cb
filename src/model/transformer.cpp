#include "model/transformer.h"

#include "ops/embedding/embedding.h"
#include "ops/gelu/gelu.h"
#include "ops/layernorm/layernorm.h"
#include "ops/linear/linear.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

class Decoder {
 public:
  Decoder(Builder& b, const ModelConfig& config, const TransformerOptions& options)
      : b_(b), c_(config), options_(options) {}

  Transformed run(const TokenInputs& in) {
    const BufferId embed = weight("embed.weight", {c_.vocab_size, c_.hidden_size});
    LearnedPositions learned;
    BufferId angles = kNone;
    if (c_.positions == "learned") {
      learned = {in.positions, weight("position_embed.weight", {c_.max_position_embeddings, c_.hidden_size})};
    } else {
      angles = rope_table(b_, "angles", in.positions, c_.head_dim, c_.rope_theta);
    }

    BufferId x = embedding(b_, "x", in.tokens, embed, learned);  // the residual stream
    BufferId delta = kNone;                                      // what the next norm adds to it
    for (int64_t i = 0; i < c_.num_hidden_layers; ++i) {
      b_.layer = static_cast<int32_t>(i);
      prefix_ = fmt::format("layers.{}.", i);
      const BufferId a = norm("attn_norm", x, delta);
      delta = attend(a, angles, in, i);
      const BufferId m = norm("mlp_norm", x, delta);
      delta = feed_forward(m);
    }
    b_.layer = -1;
    prefix_.clear();
    const BufferId h = norm("norm", x, delta);

    const bool tied = c_.tie_word_embeddings;
    return {h, tied ? embed : weight("head.weight", {c_.vocab_size, c_.hidden_size})};
  }

 private:
  // x += delta; returns the norm of the sum.
  BufferId norm(const std::string& name, BufferId& x, BufferId delta) {
    const std::string full = prefix_ + name;
    const BufferId w = weight(full + ".weight", {c_.hidden_size});
    if (c_.norm == "layernorm") {
      const BufferId bias = weight(full + ".bias", {c_.hidden_size});
      const LayerNormed out = layernorm(b_, full, x, delta, w, bias, c_.layer_norm_epsilon);
      x = out.sum;
      return out.h;
    }
    const RmsNormed out = rmsnorm(b_, full, x, delta, w, c_.rms_norm_eps);
    x = out.sum;
    return out.h;
  }

  // `angles` is absent with learned positions.
  BufferId attend(BufferId h, BufferId angles, const TokenInputs& in, int64_t layer) {
    const int64_t heads = c_.num_attention_heads;
    const int64_t kv_heads = c_.num_key_value_heads;
    const AttentionCache cache = options_.caches.empty() ? AttentionCache{} : options_.caches.at(layer);

    BufferId qkv = project("qkv", h, (heads + 2 * kv_heads) * c_.head_dim, c_.attention_bias);
    if (angles != kNone) qkv = rope(b_, prefix_ + "rope", qkv, angles, heads, kv_heads);
    const AttentionShape shape = {heads, kv_heads, c_.sliding_window, in.max_seqlen, in.uniform};
    const BufferId y = attention(b_, prefix_ + "attention", qkv, in.cu_seqlens, shape, cache);
    return project("o", y, c_.hidden_size, c_.attention_output_bias);
  }

  BufferId feed_forward(BufferId h) {
    const int64_t width = c_.intermediate_size;
    if (c_.activation == "gelu") {
      const BufferId up = project("up", h, width, c_.mlp_bias);
      return project("down", gelu(b_, prefix_ + "gelu", up), c_.hidden_size, c_.mlp_bias);
    }
    const BufferId gate_up = project("gate_up", h, 2 * width, c_.mlp_bias);
    return project("down", swiglu(b_, prefix_ + "swiglu", gate_up), c_.hidden_size, c_.mlp_bias);
  }

  // y = x W^T (+ bias), and with LoRA + alpha/rank * (x A^T) B^T.
  BufferId project(const std::string& name, BufferId x, int64_t out, bool has_bias) {
    const std::string full = prefix_ + name;
    const int64_t in = b_.program.buffer(x).shape.back();
    const BufferId w = weight(full + ".weight", {out, in});
    const BufferId bias = has_bias ? weight(full + ".bias", {out}) : kNone;
    const BufferId y = linear(b_, full, x, w, bias);
    if (options_.lora) {
      const auto [rank, alpha] = *options_.lora;
      const BufferId low = linear(b_, full + ".low", x, b_.parameter(full + ".lora_a", {rank, in}));
      const BufferId up = b_.parameter(full + ".lora_b", {out, rank});
      linear(b_, Into(y, Bind::add), low, up, kNone, alpha / static_cast<double>(rank));
    }
    return y;
  }

  BufferId weight(const std::string& name, Shape shape) {
    return b_.parameter(name, std::move(shape), !options_.lora.has_value());
  }

  Builder& b_;
  const ModelConfig& c_;
  const TransformerOptions& options_;
  std::string prefix_;  // of the layer's names
};

}  // namespace

Transformed transformer(Builder& b, const ModelConfig& config, const TokenInputs& in,
                        const TransformerOptions& options) {
  return Decoder(b, config, options).run(in);
}

}  // namespace centavo
