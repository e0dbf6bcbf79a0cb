// Cuts text into the pieces that merges never cross, by GPT-2's pattern:
//
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// with the classes of unicode_classes.h, as the ByteLevel pre-tokenizer of the `tokenizers` library. The pieces end to
// end are the text. A byte that does not begin a valid UTF-8 character is a character of its own, of class `other`.
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, encoder.py.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "data/unicode_classes.h"

namespace centavo {

struct Character {
  CharClass kind;
  uint8_t bytes;
};

// The character at `at`, whose first byte is not ASCII.
Character wide_character(const char* at, const char* end);
// Past the contraction ('s, 'll, …) at `at`, or `at` when there is none.
const char* contraction_end(const char* at, const char* end);
// Past the piece of white space at `at`: the run without its last character, which belongs to what follows, unless the
// run is a single character or ends the text.
const char* space_piece_end(const char* at, const char* end);

constexpr CharClass ascii_class(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CharClass::letter;
  if (c >= '0' && c <= '9') return CharClass::number;
  return c == ' ' || (c >= '\t' && c <= '\r') ? CharClass::space : CharClass::other;
}

inline constexpr std::array<CharClass, 128> kAsciiClasses = [] {
  std::array<CharClass, 128> classes{};
  for (size_t c = 0; c < classes.size(); ++c) classes[c] = ascii_class(static_cast<char>(c));
  return classes;
}();

inline Character character_at(const char* at, const char* end) {
  const auto byte = static_cast<uint8_t>(*at);
  return byte < 0x80 ? Character{kAsciiClasses[byte], 1} : wide_character(at, end);
}

// Past the characters of class `kind` from `at` on.
inline const char* run_end(const char* at, const char* end, CharClass kind) {
  while (at != end) {
    const Character next = character_at(at, end);
    if (next.kind != kind) return at;
    at += next.bytes;
  }
  return at;
}

// Past the piece at `at`, which is not `end`.
inline const char* piece_end(const char* at, const char* end) {
  if (*at == '\'') {
    const char* stop = contraction_end(at, end);
    if (stop != at) return stop;
  }
  const char* word = *at == ' ' && at + 1 != end ? at + 1 : at;
  const Character first = character_at(word, end);
  if (first.kind != CharClass::space) return run_end(word + first.bytes, end, first.kind);
  return space_piece_end(at, end);
}

// f(piece) for each piece of the text, in order.
template <class F>
void for_each_piece(std::string_view text, F&& f) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const char* const stop = piece_end(at, end);
    f(std::string_view(at, static_cast<size_t>(stop - at)));
    at = stop;
  }
}

}  // namespace centavo
