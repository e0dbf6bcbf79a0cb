#include "train/generate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "base/utf8_hold.h"
#include "program/verify.h"

namespace centavo {
namespace {

// Prompt tokens fed at a time: products of many rows are fast, and their logits take memory.
constexpr int64_t kPrefillChunk = 128;

void write_ints(Machine& machine, const char* name, const std::vector<int32_t>& values) {
  machine.write(name, std::as_bytes(std::span(values)));
}

std::vector<double> logits_of(const Machine& machine, int64_t row) {
  const Buffer& buffer = machine.program().buffer(machine.program().find("logits"));
  const int64_t vocabulary = buffer.shape.back();
  std::vector<double> logits(static_cast<size_t>(vocabulary));
  visit_compute(buffer.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> values(logits.size());
    machine.read_elements("logits", row * vocabulary, std::as_writable_bytes(std::span(values)));
    std::ranges::transform(values, logits.begin(), [](T value) { return convert<double>(value); });
  });
  return logits;
}

// Feeds `tokens` at positions `first` and on, and returns the logits of the last one. Rows of the machine that are
// left over are tokens of no document: nothing reads what they compute.
std::vector<double> feed(Machine& machine, std::span<const int32_t> tokens, int64_t first) {
  const auto rows = static_cast<size_t>(machine.program().buffer(machine.program().find("tokens")).elements());
  CHECK(!tokens.empty() && tokens.size() <= rows, "{} tokens for {} rows", tokens.size(), rows);
  std::vector<int32_t> ids(tokens.begin(), tokens.end());
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
  ids.resize(rows);
  positions.resize(rows);
  write_ints(machine, "tokens", ids);
  write_ints(machine, "positions", positions);
  write_ints(machine, "position", {static_cast<int32_t>(first)});
  write_ints(machine, "cu_seqlens", {0, static_cast<int32_t>(tokens.size())});
  machine.step();
  return logits_of(machine, static_cast<int64_t>(tokens.size()) - 1);
}

std::unique_ptr<Machine> machine_for(const OpTable& ops, Program program, const MachineOptions& options) {
  verify(program, ops);
  return make_machine(std::move(program), ops, options);
}

void require_finite(std::span<const double> logits, int64_t position) {
  if (std::ranges::all_of(logits, [](double logit) { return std::isfinite(logit); })) return;
  user_error("the model's logits after {} tokens are not finite; its weights are damaged, use other ones", position);
}

}  // namespace

GenerationPrograms generation_programs(const OpTable& ops, const ModelConfig& model, Inference inference,
                                       int64_t max_len) {
  Program decode = decoding_program(ops, model, inference, 1, max_len);
  inference.borrowed = {BufferKind::parameter, BufferKind::cache};
  return {std::move(decode), decoding_program(ops, model, inference, std::min(kPrefillChunk, max_len), max_len)};
}

Generator::Generator(const OpTable& ops, const ModelConfig& model, const Inference& inference, Machine* weights,
                     int64_t max_len)
    : max_len_(max_len), chunk_(std::min(kPrefillChunk, max_len)) {
  CHECK(max_len_ >= 1 && max_len_ <= model.max_position_embeddings, "{} positions", max_len_);
  GenerationPrograms programs = generation_programs(ops, model, inference, max_len_);
  MachineOptions options = inference.worker.machine_options();
  options.lender = weights;
  decode_ = machine_for(ops, std::move(programs.decode), options);
  options.lender = decode_.get();
  prefill_ = machine_for(ops, std::move(programs.prefill), options);
}

Generator::Generator(const OpTable& ops, const ModelConfig& model, const Inference& inference, Machine& weights,
                     int64_t max_len)
    : Generator(ops, model, inference, &weights, max_len) {}

Generator::Generator(const OpTable& ops, const ModelDirectory& model, const Options& options)
    : Generator(ops, model.config.model, {.precision = model.precision, .worker = options.worker}, nullptr,
                options.max_len) {
  load_parameters(*decode_, model);
}

std::vector<double> Generator::fill(std::span<const int32_t> prompt) {
  std::vector<double> logits;
  for (size_t first = 0; first < prompt.size(); first += static_cast<size_t>(chunk_)) {
    const size_t count = std::min(prompt.size() - first, static_cast<size_t>(chunk_));
    logits = feed(*prefill_, prompt.subspan(first, count), static_cast<int64_t>(first));
  }
  return logits;
}

Generated Generator::generate(std::span<const int32_t> prompt, const Drawable& drawable,
                              const GenerationSettings& settings, const TokenSink& sink) {
  require_valid(settings.draw);
  const auto given = static_cast<int64_t>(prompt.size());
  CHECK(given >= 1 && given <= max_len_, "a prompt of {} tokens for {} positions", given, max_len_);
  const RandomStream random{settings.seed, stream_of("sample", 6)};
  const int64_t end = std::min(max_len_, given + settings.max_tokens);
  Generated generated;
  std::vector<double> logits = fill(prompt);
  for (int64_t position = given; position < end; ++position) {
    require_finite(logits, position);
    const std::span<const double> allowed = std::span(logits).first(static_cast<size_t>(drawable.vocabulary));
    const int32_t token = draw(allowed, settings.draw, random.uniform(static_cast<uint64_t>(position)));
    if (std::ranges::count(drawable.ends, token) > 0) {
      generated.stop = Stop::end_of_text;
      return generated;
    }
    generated.tokens.push_back(token);
    if (sink) sink(token);
    if (position + 1 < end) logits = feed(*decode_, {&token, 1}, position);
  }
  generated.stop = end < given + settings.max_tokens ? Stop::context : Stop::max_tokens;
  return generated;
}

Tokenizer open_tokenizer(const ModelDirectory& model) {
  const std::string path = model.path + "/tokenizer.json";
  if (!std::filesystem::exists(path)) {
    user_error("{} holds no tokenizer.json; put the one that the model was trained with there", model.path);
  }
  Tokenizer tokenizer = Tokenizer::read(path);
  if (tokenizer.vocab_size() > model.config.model.vocab_size) {
    user_error("{} has {} tokens and the model beside it {}; put the tokenizer there that the model was trained with",
               path, tokenizer.vocab_size(), model.config.model.vocab_size);
  }
  return tokenizer;
}

Drawable drawable(const Tokenizer& tokenizer) {
  Drawable drawable{.vocabulary = tokenizer.vocab_size(), .ends = {}};
  if (tokenizer.end_of_text()) drawable.ends.push_back(*tokenizer.end_of_text());
  return drawable;
}

Drawable drawable(const Tokenizer& tokenizer, const ConfigJson& config) {
  Drawable all = drawable(tokenizer);
  for (const int64_t id : config.eos_token_ids) all.ends.push_back(static_cast<int32_t>(id));
  return all;
}

std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, std::string_view prompt, int64_t context) {
  std::vector<int32_t> tokens;
  if (tokenizer.end_of_text()) tokens.push_back(*tokenizer.end_of_text());
  Encoder(tokenizer).encode(prompt, tokens);
  if (tokens.empty()) {
    user_error("the prompt is empty and the tokenizer has no {} to start from; give a prompt", kEndOfText);
  }
  const auto count = static_cast<int64_t>(tokens.size());
  if (count >= context) {
    user_error("the prompt has {} tokens{}, which leaves no room in the model's context of {}; shorten it", count,
               tokenizer.end_of_text() ? fmt::format(" with the {} before it", kEndOfText) : std::string(), context);
  }
  return tokens;
}

GeneratedText generate_text(Generator& generator, const Tokenizer& tokenizer, const Drawable& drawable,
                            std::span<const int32_t> prompt, const GenerationSettings& settings, const TextSink& sink) {
  GeneratedText result;
  Utf8Hold hold;
  const auto say = [&](const std::string& text) {
    result.text += text;
    if (sink && !text.empty()) sink(text);
  };
  const auto take = [&](int32_t token) { say(hold.push(tokenizer.bytes_of(token))); };
  const Generated generated = generator.generate(prompt, drawable, settings, take);
  say(hold.finish());
  result.tokens = static_cast<int64_t>(generated.tokens.size());
  result.stop = generated.stop;
  return result;
}

std::string sample_prompt(const RunConfig& config, const Tokenizer& tokenizer) {
  const bool nothing = config.sample_prompt.empty() && !tokenizer.end_of_text();
  return nothing ? "\n" : config.sample_prompt;
}

void require_sample_prompt(const RunConfig& config, const Tokenizer& tokenizer) {
  if (config.sample_tokens == 0) return;
  prompt_tokens(tokenizer, sample_prompt(config, tokenizer), config.model.max_position_embeddings);
}

namespace {

Inference sampling_inference(const RunConfig& c, const Worker& worker) {
  return {c.precision, worker, true, c.shard, {BufferKind::parameter}};
}

}  // namespace

GenerationPrograms sampling_programs(const OpTable& ops, const RunConfig& c, const Worker& worker) {
  const auto longest_prompt = static_cast<int64_t>(c.sample_prompt.size()) + 1;  // <|endoftext|> or the line end
  const int64_t max_len = std::min(c.model.max_position_embeddings, longest_prompt + c.sample_tokens);
  return generation_programs(ops, c.model, sampling_inference(c, worker), max_len);
}

std::string sample_text(const OpTable& ops, const RunConfig& config, const Worker& worker, Machine& weights,
                        const Tokenizer& tokenizer, std::string_view prompt, const GenerationSettings& settings) {
  const int64_t context = config.model.max_position_embeddings;
  const std::vector<int32_t> tokens = prompt_tokens(tokenizer, prompt, context);
  const int64_t max_len = std::min(context, static_cast<int64_t>(tokens.size()) + settings.max_tokens);
  Generator generator(ops, config.model, sampling_inference(config, worker), weights, max_len);
  return generate_text(generator, tokenizer, drawable(tokenizer), tokens, settings).text;
}

}  // namespace centavo
