// The text form of a program.
//
//   centavo 1                                  version of the form
//   ranks 2                                    omitted when 1
//   arena device 4096                          after `place`, one line a home
//   buffer NAME DTYPE[DIMS] KIND FLAG…         flags in this order, each omitted when it says nothing:
//       host persistent trainable borrowed ring=COUNTER/SLOTS view=PARENT+ELEMENTS layout=UNIT
//       shard=AXIS:INDEX/PARTS at=BYTES
//   section NAME
//     %ID OUT, +OUT = KIND(IN, _, IN) KEY=VALUE… | layer=N STAGE LANE of=%ID ws=BUFFER after=%ID,%ID
//   step NAME NAME*TIMES …
//
// An output is written, or with `+` added to. `_` is an absent optional operand. After `|` stand the op's
// whereabouts, each omitted when it says nothing (layer -1, stage forward, lane compute, of=%ID itself); without
// any, `|` is omitted too. A number with `.`, `e`, `inf` or `nan` is real, one without is whole, the rest is text.
// `#` starts a comment, blank lines and extra spaces are ignored; printing is canonical: print(parse(t)) depends
// on the program alone, and parse(print(p)) == p.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "program/program.h"

namespace centavo {

std::string print(const Program& program);
std::string print(const Program& program, const Section& section, const Op& op);  // one op, for messages

// Throws UserError "program line N: what, how to mend".
Program parse(std::string_view text);

// XXH3-64 of the canonical text.
uint64_t hash_of(const Program& program);

}  // namespace centavo
