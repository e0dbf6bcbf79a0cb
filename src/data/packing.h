// From windows of tokens to the token buffers of a micro-batch.
//
// With B windows of L tokens, token t of window w is row n = w L + t:
//
//   tokens[n]      the token; 0 where the window has ended
//   targets[n]     the next token of the row, or -1 where it does not count: before the window's first target, behind
//                  its last one, and across a border between documents when `border` is `masked`
//   positions[n]   how many tokens of the same document precede it in the window
//   cu_seqlens     [B L + 1]: where each document begins, and B L at the end. A window begins a document, whether or
//                  not one starts there; so does the padding behind a window that ends early. Entries left over repeat
//                  B L, which makes their documents empty. Size for any window: no more documents than tokens
//
// Joined documents are one to attention: positions count through the window, and cu_seqlens [B + 1] is where windows
// begin.
//
// Source: Krell et al., "Efficient sequence packing without cross-contamination", 2021.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/sampler.h"
#include "data/tokenizer.h"

namespace centavo {

// The target across a border is the next document's <|endoftext|>, where there is one.
enum class DocumentBorder : uint8_t { predicted, masked };
DocumentBorder document_border(const Tokenizer& tokenizer);

// May a token see what stands before its document in the window?
enum class Documents : uint8_t { apart, joined };

struct TokenBatch {
  std::vector<int32_t> tokens, targets, positions, cu_seqlens;
};

// A window without tokens is all padding. No window has more than seq_len + 1 tokens. Allocates only when `batch` has
// another size.
void pack(std::span<const Window> windows, int64_t seq_len, DocumentBorder border, TokenBatch& batch,
          Documents documents = Documents::apart);

}  // namespace centavo
