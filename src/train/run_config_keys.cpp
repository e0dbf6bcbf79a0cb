#include "train/run_config_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/nearest.h"
#include "passes/shard.h"
#include "train/schedule.h"

namespace centavo {
namespace {

using Ends = Limits::Ends;

constexpr double kLargestSize = std::numeric_limits<int32_t>::max();
// Integers up to here are exact in f64, which limits are kept in.
constexpr double kLargestCount = 0x1p53;

const Limits kSize = {1, kLargestSize, Ends::closed};
const Limits kSizeOrNone = {0, kLargestSize, Ends::closed};
const Limits kCount = {1, kLargestCount, Ends::closed};
const Limits kCountOrNone = {0, kLargestCount, Ends::closed};
const Limits kNotNegative = {0, std::numeric_limits<double>::max(), Ends::closed};
const Limits kPositive = {0, std::numeric_limits<double>::max(), Ends::open_below};
const Limits kFraction = {0, 1, Ends::closed};
const Limits kFractionBelowOne = {0, 1, Ends::open_above};

std::vector<Key> make_keys() {
  using R = RunConfig;
  using M = ModelConfig;
  constexpr Given kRequired = Given::required;
  constexpr Given kOptional = Given::optional;
  return {
      {"text",
       &R::text,
       kOptional,
       {},
       "text to train on: a file or directory of .txt or .jsonl, also .gz or .zst",
       {}},
      {"data", &R::data, kOptional, {}, "prepared data to train on instead of text (centavo data build)", {}},
      {"tokenizer",
       &R::tokenizer,
       kOptional,
       {},
       "tokenizer.json for the text",
       "learnt from the text, with model.vocab_size tokens"},
      {"out", &R::out, kOptional, {}, "directory of logs and checkpoints", "runs/ and the file's name without .toml"},
      {"seed", &R::seed, kOptional, kCountOrNone, "fixes initial weights, data order and rounding", {}},
      {"precision",
       &R::precision,
       kOptional,
       Choices{"fp32", "bf16", "bf16-stochastic"},
       "fp32; bf16 with fp32 master weights; bf16 alone with stochastic rounding; norms multiply in fp32 under each",
       {}},
      {"device",
       &R::device,
       kOptional,
       Choices{"cpu", "cuda", "auto"},
       "what computes; auto: a GPU where centavo was built for it and one is there, else the processor",
       {}},
      {"deterministic",
       &R::deterministic,
       kOptional,
       {},
       "GPUs: attention's backward too gives the same bits in every run, for more time; processors always do",
       {}},
      {"seq_len", &R::seq_len, kRequired, kSize, "tokens per sequence", {}},
      {"micro_batch", &R::micro_batch, kRequired, kSize, "sequences per micro-batch", {}},
      {"grad_accum_steps",
       &R::grad_accum_steps,
       kOptional,
       kSize,
       "micro-batches per step, shared out over the ranks",
       {}},
      {"max_steps", &R::max_steps, kRequired, kCount, "optimizer steps of the whole run", {}},
      {"loss_chunk",
       &R::loss_chunk,
       kOptional,
       kSizeOrNone,
       "tokens whose logits are held at a time, the order of one gradient's sums; 0: 1024 on processors, 8192 on GPUs; "
       "with memory: the cheapest that fits",
       {}},
      {"documents",
       &R::documents,
       kOptional,
       Choices{"apart", "joined"},
       "what a token sees of its sequence: its own document; all before it, which is faster on GPUs",
       {}},
      {"memory",
       &R::memory,
       kOptional,
       {},
       "most memory of the training step on each rank, such as 2GiB: what does not fit is recomputed, then offloaded",
       "no limit"},
      {"recompute",
       &R::recompute,
       kOptional,
       Choices{"none", "cheap", "attention", "full"},
       "activations that are computed again in the backward; with memory: the least that fits",
       {}},
      {"offload",
       &R::offload,
       kOptional,
       Choices{"none", "activations", "states", "all"},
       "what waits in a file under OUT instead of memory, or of a GPU's in memory of the host",
       {}},
      {"prefetch", &R::prefetch, kOptional, kSizeOrNone, "units gathered, or fetched, ahead of their use", {}},
      {"shard", &R::shard, kOptional, shard_rule_names(), "what ranks cut of weights, gradients and states", {}},
      {"grad_sum",
       &R::grad_sum,
       kOptional,
       Choices{"chain", "tree"},
       "tree: the same bits on 1, 2, 4, … ranks, for more memory and time",
       {}},
      {"learning_rate", &R::learning_rate, kRequired, kNotNegative, "the highest rate of the schedule", {}},
      {"schedule", &R::schedule, kOptional, decay_names(), "how the rate falls after the warm-up", {}},
      {"warmup_steps", &R::warmup_steps, kOptional, kCountOrNone, "steps in which the rate rises from 0", {}},
      {"decay_steps", &R::decay_steps, kOptional, kCountOrNone, "wsd: steps in which the rate falls; 0: a fifth", {}},
      {"min_lr_ratio", &R::min_lr_ratio, kOptional, kFraction, "share of learning_rate left at max_steps", {}},
      {"beta1", &R::beta1, kOptional, kFractionBelowOne, "AdamW: decay of the first moment", {}},
      {"beta2", &R::beta2, kOptional, kFractionBelowOne, "AdamW: decay of the second moment", {}},
      {"eps", &R::eps, kOptional, kPositive, "AdamW: added to the root of the second moment", {}},
      {"weight_decay", &R::weight_decay, kOptional, kNotNegative, "AdamW: decoupled weight decay", {}},
      {"clip_norm", &R::clip_norm, kOptional, kNotNegative, "largest norm of the gradient; 0: no clipping", {}},
      {"validation_every", &R::validation_every, kOptional, kCountOrNone, "steps between validations; 0: none", {}},
      {"validation_windows",
       &R::validation_windows,
       kOptional,
       kCount,
       "sequences per validation, at most; the last one reads all",
       {}},
      {"validation_fraction",
       &R::validation_fraction,
       kOptional,
       kFractionBelowOne,
       "share of the documents kept for validation",
       {}},
      {"checkpoint_every", &R::checkpoint_every, kOptional, kCountOrNone, "steps between checkpoints; 0: none", {}},
      {"keep_checkpoints", &R::keep_checkpoints, kOptional, kSize, "newest checkpoints kept", {}},
      {"sample_every", &R::sample_every, kOptional, kCountOrNone, "steps between samples; 0: at the end only", {}},
      {"sample_tokens", &R::sample_tokens, kOptional, kSizeOrNone, "tokens of a sample; 0: no samples", {}},
      {"sample_prompt", &R::sample_prompt, kOptional, {}, "what the sample continues", {}},
      {"sample_temperature", &R::sample_temperature, kOptional, kNotNegative, "0: the likeliest token always", {}},
      {"log_every", &R::log_every, kOptional, kCount, "steps between log lines", {}},
      {"threads", &R::threads, kOptional, kSizeOrNone, "processor threads; 0: all", {}},
      {"price_per_hour", &R::price_per_hour, kOptional, kPositive, "of this machine, in dollars", "unknown"},
      {"model.model_type",
       &M::model_type,
       kOptional,
       Choices{"llama", "qwen2", "gpt2"},
       "architecture whose norm, activation, positions, biases and tied head are the defaults",
       {}},
      {"model.vocab_size", &M::vocab_size, kRequired, kSize, "tokens known; 256: bytes", {}},
      {"model.hidden_size", &M::hidden_size, kRequired, kSize, "width of the residual stream", {}},
      {"model.intermediate_size", &M::intermediate_size, kRequired, kSize, "width inside the feed-forward", {}},
      {"model.num_hidden_layers", &M::num_hidden_layers, kRequired, kSize, "layers", {}},
      {"model.num_attention_heads", &M::num_attention_heads, kRequired, kSize, "query heads", {}},
      {"model.num_key_value_heads", &M::num_key_value_heads, kOptional, kSize, "key and value heads",
       "num_attention_heads"},
      {"model.head_dim", &M::head_dim, kOptional, kSize, "size of a head, even", "hidden_size / num_attention_heads"},
      {"model.norm", &M::norm, kOptional, Choices{"rmsnorm", "layernorm"}, "before attention, feed-forward and head",
       "rmsnorm (gpt2: layernorm)"},
      {"model.activation", &M::activation, kOptional, Choices{"swiglu", "gelu"},
       "inside the feed-forward: gated, or the tanh form of GELU without a gate", "swiglu (gpt2: gelu)"},
      {"model.positions", &M::positions, kOptional, Choices{"rope", "learned"},
       "how a token knows its place: rotary, or a table of max_position_embeddings rows", "rope (gpt2: learned)"},
      {"model.rms_norm_eps", &M::rms_norm_eps, kOptional, kPositive, "added to the mean square in RMSNorm", {}},
      {"model.layer_norm_epsilon",
       &M::layer_norm_epsilon,
       kOptional,
       kPositive,
       "added to the variance in LayerNorm",
       {}},
      {"model.rope_theta", &M::rope_theta, kOptional, kPositive, "base of the rotary frequencies", {}},
      {"model.tie_word_embeddings",
       &M::tie_word_embeddings,
       kOptional,
       {},
       "one matrix for embedding and head",
       "false (gpt2: true)"},
      {"model.attention_bias",
       &M::attention_bias,
       kOptional,
       {},
       "biases on the attention's projections to q, k and v",
       "false (qwen2, gpt2: true)"},
      {"model.attention_output_bias",
       &M::attention_output_bias,
       kOptional,
       {},
       "a bias on the projection of the attention's output, o",
       "attention_bias (qwen2: false)"},
      {"model.mlp_bias", &M::mlp_bias, kOptional, {}, "biases on the feed-forward's projections", "false (gpt2: true)"},
      {"model.sliding_window", &M::sliding_window, kOptional, kSizeOrNone, "tokens a query looks back; 0: all", {}},
      {"model.initializer_range",
       &M::initializer_range,
       kOptional,
       kNotNegative,
       "standard deviation of initial weights",
       {}},
      {"model.max_position_embeddings", &M::max_position_embeddings, kOptional, kSize, "longest sequence promised",
       "seq_len"},
  };
}

// The struct of `config` that a pointer to member points into.
template <class Owner, class Config>
auto& owner_of(Config& config) {
  if constexpr (std::is_same_v<Owner, RunConfig>) {
    return config;
  } else {
    return config.model;
  }
}

template <class T, class Owner, class Config>
auto& member(Config& config, T Owner::*place) {
  return owner_of<Owner>(config).*place;
}

std::string broken_limits(const Limits& limits, double value) {
  const bool least = limits.ends == Ends::open_below ? value > limits.least : value >= limits.least;
  const bool most = limits.ends == Ends::open_above ? value < limits.most : value <= limits.most;
  if (!std::isfinite(value)) return "must be finite";
  if (!least) return fmt::format("must be {} {}", limits.ends == Ends::open_below ? "above" : "at least", limits.least);
  if (!most) {
    return fmt::format("must be {} {:.0f}", limits.ends == Ends::open_above ? "below" : "at most", limits.most);
  }
  return {};
}

std::string broken_choice(const Choices& choices, const std::string& value) {
  if (std::ranges::count(choices, value) > 0) return {};
  return fmt::format("must be one of {}{}", fmt::join(choices, ", "), did_you_mean(value, choices));
}

}  // namespace

std::span<const Key> run_config_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

const Key* find_key(std::string_view name) {
  const std::span<const Key> keys = run_config_keys();
  const auto found = std::ranges::find(keys, name, &Key::name);
  return found == keys.end() ? nullptr : &*found;
}

std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key& key : run_config_keys()) names.push_back(key.name);
  return names;
}

Value value_of(const RunConfig& config, const Key& key) {
  return std::visit([&](auto place) -> Value { return member(config, place); }, key.place);
}

void set_value(RunConfig& config, const Key& key, const Value& value) {
  std::visit(
      [&](auto place) {
        auto& target = member(config, place);
        target = std::get<std::remove_reference_t<decltype(target)>>(value);
      },
      key.place);
}

std::string_view type_in_words(const Key& key) {
  constexpr std::string_view kWords[] = {"an integer", "a number", "true or false", "a text"};
  return kWords[value_of(RunConfig(), key).index()];
}

std::string broken_rule(const Key& key, const Value& value) {
  if (const Choices* choices = std::get_if<Choices>(&key.rule)) {
    return broken_choice(*choices, std::get<std::string>(value));
  }
  const Limits limits = std::holds_alternative<Limits>(key.rule) ? std::get<Limits>(key.rule) : Limits();
  if (const int64_t* integer = std::get_if<int64_t>(&value)) {
    return broken_limits(limits, static_cast<double>(*integer));
  }
  if (const double* number = std::get_if<double>(&value)) return broken_limits(limits, *number);
  return {};
}

}  // namespace centavo
