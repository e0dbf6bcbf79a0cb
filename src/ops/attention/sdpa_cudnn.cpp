// The one file that includes cuDNN's C++ interface.

#include "ops/attention/sdpa_cudnn.h"

#include "base/errors.h"

#ifdef CENTAVO_CUDNN

#include <cudnn_frontend.h>

#include <cmath>
#include <unordered_map>

namespace centavo {
namespace {

namespace fe = cudnn_frontend;
using Graph = fe::graph::Graph;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using Dims = std::vector<int64_t>;

enum Uid : int64_t {
  kQ = 1,
  kK,
  kV,
  kY,
  kStats,
  kDy,
  kDq,
  kDk,
  kDv,
  kLengthQ,
  kLengthKv,
  kOffsetQ,
  kOffsetK,
  kOffsetV,
  kOffsetY,
  kOffsetStats,
  kOffsetDk,
  kOffsetDv,
};

// Declares the tensors of a case; heads of a row lie side by side.
class Tensors {
 public:
  Tensors(Graph& graph, const SdpaCase& c) : graph_(graph), c_(c) {
    if (c.form == SdpaCase::uniform) return;
    q_at = index("q_offset", kOffsetQ);
    k_at = index("k_offset", kOffsetK);
    v_at = index("v_offset", kOffsetV);
    y_at = index("y_offset", kOffsetY);
    stats_at = index("stats_offset", kOffsetStats);
  }

  // [batch, heads, seq, head_size]
  Dims dims(int64_t heads) const { return {c_.batch, heads, c_.seq, c_.head_size}; }
  Dims rows(int64_t row) const { return {c_.seq * row, c_.head_size, row, 1}; }

  Tensor input(const char* name, Uid uid, int64_t heads, int64_t row, const Tensor& offsets) const {
    auto attributes = fe::graph::Tensor_attributes();
    attributes.set_name(name).set_uid(uid).set_dim(dims(heads)).set_stride(rows(row));
    if (offsets) attributes.set_ragged_offset(offsets);
    return graph_.tensor(attributes);
  }

  void output(const Tensor& tensor, Uid uid, int64_t heads, int64_t row, const Tensor& offsets) const {
    tensor->set_output(true).set_uid(uid).set_dim(dims(heads)).set_stride(rows(row));
    if (offsets) tensor->set_ragged_offset(offsets);
  }

  Dims stats_dims() const { return {c_.batch, c_.heads, c_.seq, 1}; }
  Dims stats_strides() const {
    if (c_.form == SdpaCase::packed) return {c_.heads * c_.seq, 1, c_.heads, 1};
    if (c_.direction == SdpaCase::forward) return {c_.seq, c_.tokens, 1, 1};
    return {c_.heads * c_.seq, c_.seq, 1, 1};
  }

  Tensor lengths(const char* name, Uid uid) const { return whole(name, uid, c_.batch, fe::DataType_t::INT32); }
  Tensor index(const char* name, Uid uid) const { return whole(name, uid, c_.batch + 1, fe::DataType_t::INT64); }

  Tensor q_at, k_at, v_at, y_at, stats_at;  // null when uniform

 private:
  Tensor whole(const char* name, Uid uid, int64_t count, fe::DataType_t type) const {
    return graph_.tensor(fe::graph::Tensor_attributes()
                             .set_name(name)
                             .set_uid(uid)
                             .set_dim({count, 1, 1, 1})
                             .set_stride({1, 1, 1, 1})
                             .set_data_type(type));
  }

  Graph& graph_;
  const SdpaCase& c_;
};

template <class Options>
void set_mask(Options& options, const SdpaCase& c, const Tensors& tensors) {
  options.set_attn_scale(static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_size))))
      .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
      .set_diagonal_band_right_bound(0);
  if (c.window > 0) options.set_diagonal_band_left_bound(static_cast<int>(c.window));
  if (c.form == SdpaCase::uniform) return;
  options.set_padding_mask(true)
      .set_seq_len_q(tensors.lengths("lengths_q", kLengthQ))
      .set_seq_len_kv(tensors.lengths("lengths_kv", kLengthKv));
}

void add_forward(Graph& graph, const SdpaCase& c) {
  const Tensors t(graph, c);
  auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(true);
  set_mask(options, c, t);
  const Tensor q = t.input("q", kQ, c.heads, c.qkv_row, t.q_at);
  const Tensor k = t.input("k", kK, c.kv_heads, c.qkv_row, t.k_at);
  const Tensor v = t.input("v", kV, c.kv_heads, c.qkv_row, t.v_at);
  const auto [y, stats] = graph.sdpa(q, k, v, options);
  t.output(y, kY, c.heads, c.y_row, t.y_at);
  stats->set_output(true).set_uid(kStats).set_data_type(fe::DataType_t::FLOAT);
  stats->set_dim(t.stats_dims()).set_stride(t.stats_strides());
  if (t.stats_at) stats->set_ragged_offset(t.stats_at);
}

void add_backward(Graph& graph, const SdpaCase& c) {
  const Tensors t(graph, c);
  auto options = fe::graph::SDPA_backward_attributes().set_name("attention_grad");
  set_mask(options, c, t);
  options.set_deterministic_algorithm(c.order == SdpaCase::fixed);
  if (c.form == SdpaCase::packed) {
    options.set_max_total_seq_len_q(c.tokens).set_max_total_seq_len_kv(c.tokens);
  }
  const Tensor q = t.input("q", kQ, c.heads, c.qkv_row, t.q_at);
  const Tensor k = t.input("k", kK, c.kv_heads, c.qkv_row, t.k_at);
  const Tensor v = t.input("v", kV, c.kv_heads, c.qkv_row, t.v_at);
  const Tensor y = t.input("y", kY, c.heads, c.y_row, t.y_at);
  const Tensor dy = t.input("dy", kDy, c.heads, c.y_row, t.y_at);
  auto stats_attributes = fe::graph::Tensor_attributes();
  stats_attributes.set_name("stats").set_uid(kStats).set_data_type(fe::DataType_t::FLOAT);
  stats_attributes.set_dim(t.stats_dims()).set_stride(t.stats_strides());
  if (t.stats_at) stats_attributes.set_ragged_offset(t.stats_at);
  const auto [dq, dk, dv] = graph.sdpa_backward(q, k, v, y, dy, graph.tensor(stats_attributes), options);
  t.output(dq, kDq, c.heads, c.qkv_row, t.q_at);
  const bool gathered = c.gathers_key_gradients();
  const int64_t row = gathered ? c.kv_heads * c.head_size : c.qkv_row;
  t.output(dk, kDk, c.kv_heads, row, gathered ? t.index("dk_offset", kOffsetDk) : t.k_at);
  t.output(dv, kDv, c.kv_heads, row, gathered ? t.index("dv_offset", kOffsetDv) : t.v_at);
}

// Pointers of all tensors that any case has; cuDNN takes those of its graph.
std::unordered_map<int64_t, void*> pointers(const SdpaMemory& m) {
  const DocumentTable& d = m.documents;
  return {{kQ, m.q},
          {kK, m.k},
          {kV, m.v},
          {kY, m.y},
          {kStats, m.stats},
          {kDy, m.dy},
          {kDq, m.dq},
          {kDk, m.dk},
          {kDv, m.dv},
          {kLengthQ, d.length},
          {kLengthKv, d.length},
          {kOffsetQ, d.qkv_offset},
          {kOffsetK, d.qkv_offset},
          {kOffsetV, d.qkv_offset},
          {kOffsetY, d.y_offset},
          {kOffsetStats, d.stats_offset},
          {kOffsetDk, d.kv_offset},
          {kOffsetDv, d.kv_offset}};
}

class FrontendPlan : public SdpaPlan {
 public:
  FrontendPlan(const SdpaCase& c, cudnnHandle_t handle) : handle_(handle) {
    try {
      fe::error_t error = build(c);
      if (error.is_bad()) refusal_ = error.get_message();
      if (error.is_bad() && refusal_.empty()) refusal_ = "no engine for the case";
    } catch (const std::exception& error) {  // the interface throws where its parts fail
      refusal_ = error.what();
    }
  }

  const std::string& refusal() const override { return refusal_; }
  int64_t workspace_bytes() const override { return workspace_bytes_; }

  void run(const SdpaMemory& memory, CUstream_st* stream) const override {
    const cudnnStatus_t status = cudnnSetStream(handle_, stream);
    if (status != CUDNN_STATUS_SUCCESS) throw DeviceError(fmt::format("cuDNN: {}", cudnnGetErrorString(status)));
    std::unordered_map<int64_t, void*> tensors = pointers(memory);
    fe::error_t error = graph_.execute(handle_, tensors, memory.workspace);
    if (error.is_bad()) throw DeviceError(fmt::format("cuDNN's attention: {}", error.get_message()));
  }

 private:
  fe::error_t build(const SdpaCase& c) {
    graph_.set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (c.direction == SdpaCase::forward) {
      add_forward(graph_, c);
    } else {
      add_backward(graph_, c);
    }
    fe::error_t error = graph_.build(handle_, {fe::HeurMode_t::A});
    if (error.is_bad()) return error;
    return graph_.get_workspace_size(workspace_bytes_);
  }

  cudnnHandle_t handle_;
  Graph graph_;
  int64_t workspace_bytes_ = 0;
  std::string refusal_;
};

std::string key_of(const SdpaCase& c) {
  return fmt::format("cudnn attention {} {} {} batch={} seq={} heads={}/{}x{} window={} tokens={} rows={}/{}",
                     static_cast<int>(c.direction), static_cast<int>(c.form), static_cast<int>(c.order), c.batch, c.seq,
                     c.heads, c.kv_heads, c.head_size, c.window, c.tokens, c.qkv_row, c.y_row);
}

}  // namespace

std::shared_ptr<const SdpaPlan> sdpa_plan(const SdpaCase& c, CudaLibraries& libraries) {
  std::shared_ptr<void>& plan = libraries.plans[key_of(c)];
  if (!plan) plan = std::static_pointer_cast<SdpaPlan>(std::make_shared<FrontendPlan>(c, libraries.cudnn()));
  return std::static_pointer_cast<const SdpaPlan>(plan);
}

}  // namespace centavo

#else

namespace centavo {

std::shared_ptr<const SdpaPlan> sdpa_plan(const SdpaCase&, CudaLibraries&) {
  CHECK(false, "this program was built without cuDNN");
  return nullptr;
}

}  // namespace centavo

#endif
