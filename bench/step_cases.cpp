#include "step_cases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "base/errors.h"
#include "base/nearest.h"

namespace centavo {
namespace {

struct Case {
  const char* precision;
  int64_t seq_len, micro_batch, micro_batches;
  int64_t vocab, hidden, intermediate, layers, heads, kv_heads;
  bool tied, bias;
  double theta, eps;
  const char* model_type = "llama";
};

const std::map<std::string, Case> kCases = {
    {"7b-t4096-bf16", {"bf16-stochastic", 4096, 4, 1, 152064, 3584, 18944, 28, 28, 4, false, true, 1e6, 1e-6, "qwen2"}},
    {"7b-t1024-bf16",
     {"bf16-stochastic", 1024, 16, 4, 152064, 3584, 18944, 28, 28, 4, false, true, 1e6, 1e-6, "qwen2"}},
    {"1.5b-t1024-bf16",
     {"bf16-stochastic", 1024, 32, 8, 151936, 1536, 8960, 28, 12, 2, true, true, 1e6, 1e-6, "qwen2"}},
    {"1b-t4096-amp", {"bf16", 4096, 8, 1, 128256, 2048, 8192, 16, 32, 8, true, false, 5e5, 1e-5}},
    {"160m-t1024-amp", {"bf16", 1024, 64, 1, 32000, 768, 3072, 12, 12, 12, false, false, 1e4, 1e-6}},
    {"gpt2-124m-t1024-amp", {"bf16", 1024, 8, 8, 50304, 768, 3072, 12, 12, 12, true, true, 1e4, 1e-5, "gpt2"}},
    {"tiny", {"bf16", 256, 4, 2, 512, 256, 768, 2, 4, 2, false, false, 1e4, 1e-6}},
};

std::string toml_of(const Case& c) {
  return fmt::format(
      "device = \"cuda\"\nprecision = \"{}\"\ndocuments = \"joined\"\nseq_len = {}\nmicro_batch = {}\n"
      "grad_accum_steps = {}\nmax_steps = 1000\nlearning_rate = 3e-4\n[model]\nvocab_size = {}\n"
      "hidden_size = {}\nintermediate_size = {}\nnum_hidden_layers = {}\nnum_attention_heads = {}\n"
      "num_key_value_heads = {}\ntie_word_embeddings = {}\nattention_bias = {}\nrope_theta = {}\nrms_norm_eps = {}\n"
      "model_type = \"{}\"\n",
      c.precision, c.seq_len, c.micro_batch, c.micro_batches, c.vocab, c.hidden, c.intermediate, c.layers, c.heads,
      c.kv_heads, c.tied, c.bias, c.theta, c.eps, c.model_type);
}

}  // namespace

const std::vector<std::string>& step_case_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, c] : kCases) all.push_back(name);
    return all;
  }();
  return names;
}

RunConfig step_case(const std::string& name, const std::vector<std::string>& overrides) {
  const auto found = kCases.find(name);
  if (found == kCases.end()) {
    user_error("there is no case '{}'; the cases are {}{}", name, fmt::join(step_case_names(), ", "),
               did_you_mean(name, step_case_names()));
  }
  return parse_run_config_text(toml_of(found->second), "bench.toml", overrides);
}

}  // namespace centavo
