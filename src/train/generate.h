// Text from a model: the prompt fills the cache, then one token at a time is drawn and fed.
//
// A generator holds two machines with one cache: `prefill` takes the prompt in chunks of fixed size, `decode` one
// token. The parameters are a training machine's, borrowed, or a model directory's, loaded.
//
// The token at position p is drawn with the random number (seed, p): the same model, prompt and settings give the same
// tokens on the same machine with the same number of threads.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "machine/make_machine.h"
#include "model/hf/model_directory.h"
#include "train/draw.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo {

struct GenerationSettings {
  int64_t max_tokens = 200;
  DrawSettings draw;
  uint64_t seed = 0;
};

// Which tokens may be drawn, and which of them end the text.
struct Drawable {
  int64_t vocabulary = 0;  // the ids below it
  std::vector<int32_t> ends;
};

enum class Stop : uint8_t { max_tokens, end_of_text, context };

struct Generated {
  std::vector<int32_t> tokens;  // without the prompt and the token that ended it
  Stop stop = Stop::max_tokens;
};

using TokenSink = std::function<void(int32_t token)>;
using TextSink = std::function<void(std::string_view text)>;

// The two programs of a generator: `decode` owns the cache, `prefill` borrows it.
struct GenerationPrograms {
  Program decode;
  Program prefill;
};

// For a cache of `max_len` positions; parameters of `inference.borrowed` kinds are another machine's.
GenerationPrograms generation_programs(const OpTable& ops, const ModelConfig& model, Inference inference,
                                       int64_t max_len);

class Generator {
 public:
  struct Options {
    Worker worker = 1;
    int64_t max_len = 0;  // positions of the cache: prompt and generated tokens
  };

  // With the parameters of `weights`, which must outlive this object and is not stepped while it generates.
  Generator(const OpTable& ops, const ModelConfig& model, const Inference& inference, Machine& weights,
            int64_t max_len);
  // With parameters of its own.
  Generator(const OpTable& ops, const ModelDirectory& model, const Options& options);

  // Continues `prompt` (at least one token, at most max_len; ids below vocab_size) and calls `sink` for each token as
  // it is drawn. Throws UserError when a logit is not finite.
  Generated generate(std::span<const int32_t> prompt, const Drawable& drawable, const GenerationSettings& settings,
                     const TokenSink& sink = {});

 private:
  Generator(const OpTable& ops, const ModelConfig& model, const Inference& inference, Machine* weights,
            int64_t max_len);

  std::vector<double> fill(std::span<const int32_t> prompt);

  int64_t max_len_;
  int64_t chunk_;
  std::unique_ptr<Machine> decode_;   // owns the cache
  std::unique_ptr<Machine> prefill_;  // borrows from it
};

// The tokenizer.json of a model directory. UserError when it is missing, damaged, or knows more tokens than the model.
Tokenizer open_tokenizer(const ModelDirectory& model);

// The ids that the tokenizer can decode, and as ends its <|endoftext|> and the directory's eos_token_id.
Drawable drawable(const Tokenizer& tokenizer, const ConfigJson& config);
Drawable drawable(const Tokenizer& tokenizer);

// The prompt's tokens, behind <|endoftext|> when the tokenizer has it, as documents begin in training. UserError when
// there is no token at all, or no room left in `context` tokens.
std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, std::string_view prompt, int64_t context);

// Generates and hands the text to `sink` as soon as its characters are whole; bytes that are no UTF-8 become U+FFFD.
// Returns what the sink was given, end to end.
struct GeneratedText {
  std::string text;
  int64_t tokens = 0;
  Stop stop = Stop::max_tokens;
};
GeneratedText generate_text(Generator& generator, const Tokenizer& tokenizer, const Drawable& drawable,
                            std::span<const int32_t> prompt, const GenerationSettings& settings,
                            const TextSink& sink = {});

// The prompt of a run's samples: without a token to start from, a text starts on a new line.
std::string sample_prompt(const RunConfig& config, const Tokenizer& tokenizer);

// UserError when the run writes samples and their prompt leaves no room in the model's context.
void require_sample_prompt(const RunConfig& config, const Tokenizer& tokenizer);

// The programs of a run's samples with the longest cache that the prompt may need, a byte being a token at most; the
// parameters are the training program's.
GenerationPrograms sampling_programs(const OpTable& ops, const RunConfig& config, const Worker& worker);

// A sample during training, with the parameters that `weights` holds. Every rank draws the same text.
std::string sample_text(const OpTable& ops, const RunConfig& config, const Worker& worker, Machine& weights,
                        const Tokenizer& tokenizer, std::string_view prompt, const GenerationSettings& settings);

}  // namespace centavo
