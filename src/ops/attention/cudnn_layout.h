// What stands between attention's operands and cuDNN's: tables of documents, the order of lse, gathered gradients.
// All functions enqueue kernels on `stream`.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace centavo {

struct PackedSizes {
  int64_t tokens = 0;
  int64_t documents = 0;  // of cu_seqlens
  int64_t handed = 0;     // documents that cuDNN gets, from the first on
  int64_t max_seqlen = 0;
  int64_t heads = 1, kv_heads = 1, head_size = 0;
};

// In device memory. Offsets are in elements and have one entry a document and one behind the last.
struct DocumentTable {
  int32_t* begin = nullptr;
  int32_t* length = nullptr;  // at most max_seqlen
  int64_t* qkv_offset = nullptr;
  int64_t* y_offset = nullptr;
  int64_t* kv_offset = nullptr;     // into rows of K D
  int64_t* stats_offset = nullptr;  // into rows of H
  int32_t* rest = nullptr;          // cu_seqlens of the documents that are not handed over, [documents + 1]
};

// Boundaries are clamped as attention.h says.
void write_document_table(const PackedSizes& sizes, const int32_t* cu_seqlens, const DocumentTable& table,
                          CUstream_st* stream);

// Between stats [tokens, heads] and lse [heads, tokens], for the tokens of the table's documents.
void lse_from_stats(const PackedSizes& sizes, const DocumentTable& table, const float* stats, float* lse,
                    CUstream_st* stream);
void stats_from_lse(const PackedSizes& sizes, const DocumentTable& table, const float* lse, float* stats,
                    CUstream_st* stream);

// dk, dv [tokens, K D], bf16, into their columns of dqkv, for the tokens of the table's documents.
void place_key_gradients(const PackedSizes& sizes, const DocumentTable& table, const void* dk, const void* dv,
                         void* dqkv, CUstream_st* stream);

// lse [heads, batch seq] as [batch, heads, seq].
void lse_by_sequence(const float* lse, float* stats, int64_t batch, int64_t heads, int64_t seq, CUstream_st* stream);

}  // namespace centavo
