// Data directories: text made ready to train on.
//
//   DIR/tokenizer.json          Hugging Face tokenizers
//       train-00000.tokens …    documents in the order of the sources, then the candidates that resemble them
//       validation-00000.tokens …
//       manifest.json           sources, settings, counts, hashes of every other file and its own
//
// build_corpus reads everything twice. The first pass picks the candidates for validation (held_out.h) and counts
// pieces for the tokenizer, in documents that are no candidates, over about 256 MiB of text spread evenly. The second
// encodes, and compares every training document with the candidates (near_duplicates.h); a candidate that resembles
// one, or another such candidate, trains. If no document's hash is below the fraction, the last document is the
// candidate. A document is <|endoftext|>, where the tokenizer has it, and the tokens of its text.
//
// The result does not depend on the number of threads. The directory appears whole or not at all: it is filled under
// the name DIR.tmp; an older data directory at DIR is replaced in one step.
//
// Memory: some MiB a thread, 1/2 GiB at most for candidates, pieces and document starts, whatever the text's size;
// the pieces' texts come on top while the tokenizer is learnt.
//
// Errors: a UserError for what is wrong with paths, texts and settings, for splits without documents, for sources that
// change meanwhile, and for a DIR that is something else; an IoError when a system call fails, such as on a full disk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus_manifest.h"
#include "data/token_stream.h"
#include "data/tokenizer.h"

namespace centavo {

struct CorpusOptions {
  std::vector<std::string> paths;
  std::string directory;
  int64_t vocab_size = 0;             // of the tokenizer to learn; needed unless one is given
  std::string tokenizer;              // a tokenizer.json to use instead; or empty
  double validation_fraction = 0.01;  // in [0, 1); 0 makes no validation split
  uint64_t seed = 0;
  int threads = 0;  // 0: as many as OpenMP would use
};

struct CorpusProgress {
  std::string_view phase;
  int64_t done = 0;
  int64_t total = 0;  // bytes of the files, or merges
};

// Called on the calling thread, several times a second; it may throw, and the build ends with nothing left.
using CorpusProgressFunction = std::function<void(const CorpusProgress&)>;

enum class CorpusOutcome : uint8_t { made, was_there };

// `was_there`: the directory has been made from the same sources and settings, so only its files' headers are checked.
CorpusOutcome build_corpus(const CorpusOptions& options, const CorpusProgressFunction& progress = {});

struct Corpus {
  CorpusManifest manifest;
  Tokenizer tokenizer;
  TokenStream train;
  TokenStream validation;
  uint64_t hash = 0;  // of the tokenizer and all tokens, not of where they came from
};

// Checks the manifest, the tokenizer, and the header and block table of every shard; blocks are checked when read.
Corpus open_corpus(const std::string& directory);

}  // namespace centavo
