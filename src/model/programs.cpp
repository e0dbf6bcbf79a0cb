#include "model/programs.h"

#include "ops/linear/linear.h"
#include "ops/lm_head_loss/lm_head_loss.h"

namespace centavo {
namespace {

struct Batch {
  TokenInputs inputs;
  BufferId targets = kNone;
};

Batch declare_batch(Builder& b, const BatchShape& shape, BufferId counter) {
  const auto in = [&](const char* name, int64_t count) {
    return b.stream_in(name, DType::i32, {count}, counter, shape.slots);
  };
  Batch batch;
  batch.inputs = {in("tokens", shape.tokens()), in("positions", shape.tokens()),
                  in("cu_seqlens", shape.documents() + 1), shape.seq_len, shape.uniform};
  batch.targets = in("targets", shape.tokens());
  return batch;
}

}  // namespace

Program training_forward(const OpTable& ops, const ModelConfig& config, const BatchShape& batch, int64_t loss_chunk,
                         const TransformerOptions& options) {
  Builder b(ops);
  b.control("step", DType::i64, {1}, true);
  const BufferId micro_step = b.control("micro_step", DType::i64, {1}, true);
  const BufferId loss = b.control("loss", DType::f32, {1});
  const BufferId count = b.control("count", DType::i32, {1});
  const Batch in = declare_batch(b, batch, micro_step);
  const Transformed out = transformer(b, config, in.inputs, options);
  lm_head_loss(b, out.h, out.head_weight, in.targets, std::min(loss_chunk, batch.tokens()), loss, count);
  return std::move(b.program);
}

Program evaluation(const OpTable& ops, const ModelConfig& config, const BatchShape& batch, int64_t loss_chunk) {
  Builder b(ops);
  const BufferId loss = b.stream_out("loss", DType::f32, {1});
  const BufferId count = b.stream_out("count", DType::i32, {1});
  const Batch in = declare_batch(b, batch, kNone);
  const Transformed out = transformer(b, config, in.inputs);
  lm_head_loss(b, out.h, out.head_weight, in.targets, std::min(loss_chunk, batch.tokens()), loss, count);
  return std::move(b.program);
}

Program decoding(const OpTable& ops, const ModelConfig& config, int64_t sequences, int64_t new_tokens,
                 int64_t max_len) {
  Builder b(ops, "decode");
  const int64_t tokens = sequences * new_tokens;
  const TokenInputs in = {b.stream_in("tokens", DType::i32, {tokens}), b.stream_in("positions", DType::i32, {tokens}),
                          b.stream_in("cu_seqlens", DType::i32, {sequences + 1})};
  const BufferId position = b.stream_in("position", DType::i32, {sequences});
  TransformerOptions options;
  const Shape cache_shape = {sequences, max_len, config.num_key_value_heads * config.head_dim};
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    options.caches.push_back({b.cache(fmt::format("layers.{}.k_cache", i), cache_shape),
                              b.cache(fmt::format("layers.{}.v_cache", i), cache_shape), position});
  }
  const Transformed out = transformer(b, config, in, options);
  const BufferId logits = b.stream_out("logits", b.compute(), {tokens, config.vocab_size});
  linear(b, Into(logits), out.h, out.head_weight);
  return std::move(b.program);
}

}  // namespace centavo
