#include "model/hf/family.h"

#include "base/errors.h"

namespace centavo {
namespace {

bool has_parts(const ModelConfig& m, const char* norm, const char* activation, const char* positions) {
  return m.norm == norm && m.activation == activation && m.positions == positions;
}

bool is_gpt2(const ModelConfig& m) { return has_parts(m, "layernorm", "gelu", "learned"); }
bool is_llama(const ModelConfig& m) { return has_parts(m, "rmsnorm", "swiglu", "rope"); }

bool has_qkv_bias_alone(const ModelConfig& m) { return m.attention_bias && !m.attention_output_bias; }

std::string why_no_gpt2(const ModelConfig& m) {
  const bool fits = m.attention_bias && m.attention_output_bias && m.mlp_bias && m.sliding_window == 0 &&
                    m.num_key_value_heads == m.num_attention_heads &&
                    m.head_dim * m.num_attention_heads == m.hidden_size;
  if (fits) return {};
  return "Hugging Face's GPT-2 has attention_bias, attention_output_bias and mlp_bias, a key and value head for each "
         "query head, heads of hidden_size / num_attention_heads and no sliding window; set them so";
}

std::string why_no_llama(const ModelConfig& m) {
  if (m.hidden_size % m.num_attention_heads != 0) {
    return fmt::format(
        "Hugging Face's Llama needs a hidden_size that is a multiple of num_attention_heads, and {} is not one of {}; "
        "change one",
        m.hidden_size, m.num_attention_heads);
  }
  if (m.attention_output_bias && !m.attention_bias) {
    return "no Hugging Face model has attention_output_bias without attention_bias; set both or neither";
  }
  if (m.sliding_window > 0 && (m.attention_bias || m.mlp_bias)) {
    return fmt::format("no Hugging Face model has both {} and a sliding window of {}; leave out one",
                       m.attention_bias ? "attention_bias" : "mlp_bias", m.sliding_window);
  }
  if (has_qkv_bias_alone(m) && m.mlp_bias) {
    return "no Hugging Face model has mlp_bias and attention_bias without attention_output_bias; leave out mlp_bias, "
           "as Qwen2 does, or set all three, as Llama does";
  }
  return {};
}

std::string why_no_family(const ModelConfig& m) {
  return fmt::format(
      "no Hugging Face model has {}, {} and {} positions together; Llama has rmsnorm, swiglu and rope, GPT-2 "
      "layernorm, gelu and learned ones",
      m.norm, m.activation, m.positions);
}

}  // namespace

std::string why_not_exportable(const ModelConfig& m) {
  if (is_gpt2(m)) return why_no_gpt2(m);
  if (is_llama(m)) return why_no_llama(m);
  return why_no_family(m);
}

void require_exportable(const ModelConfig& m) {
  if (const std::string why = why_not_exportable(m); !why.empty()) user_error("{}", why);
}

HfFamily family_of(const ModelConfig& m) {
  if (is_gpt2(m)) return HfFamily::gpt2;
  if (!is_llama(m)) user_error("{}", why_no_family(m));
  if (m.sliding_window > 0) return HfFamily::mistral;
  return has_qkv_bias_alone(m) ? HfFamily::qwen2 : HfFamily::llama;
}

}  // namespace centavo
