// Text of any size, made up on the spot, and the program run over it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace centavo::testing {

// Writes `total_bytes` of JSON lines, before compression, into `files` zstd files in `directory`. No two documents are
// alike; the words follow a power law, so that a tokenizer finds something to merge.
void write_generated_corpus(const std::string& directory, int64_t total_bytes, int files);

struct ProgramResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  int64_t peak_bytes = 0;  // of resident memory
  std::string out;         // standard output and errors
};

// Runs centavo. With `interrupt_after_ms` above 0, sends it SIGINT then.
ProgramResult run_centavo(const std::vector<std::string>& arguments, int64_t interrupt_after_ms = 0);

}  // namespace centavo::testing
