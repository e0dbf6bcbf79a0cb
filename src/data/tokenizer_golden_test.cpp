// What the `tokenizers` library says: tests/golden/make_tokenizer_goldens.py.

#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"
#include "tests/support/paths.h"

namespace centavo {
namespace {

using nlohmann::json;

const std::string kGolden = testing::source_path("tests/golden/");

json cases() { return parse_json(read_file(kGolden + "tokenizer_cases.json")); }

TEST(TokenizerGolden, Encodes) {
  const Tokenizer tokenizer = Tokenizer::read(kGolden + "tokenizer.json");
  Encoder encoder(tokenizer);
  const json golden = cases();
  for (const json& row : golden["cases"]) {
    const auto text = row[0].get<std::string>();
    std::vector<int32_t> ids;
    encoder.encode(text, ids);
    EXPECT_EQ(ids, row[1].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_GT(golden["cases"].size(), 400);
}

TEST(TokenizerGolden, Classes) {
  std::vector<CharClass> expected(0x110000, CharClass::other);
  const json golden = cases();
  for (const auto& [name, kind] : {std::pair("letter", CharClass::letter), std::pair("number", CharClass::number),
                                   std::pair("space", CharClass::space)}) {
    for (const json& range : golden["classes"][name]) {
      std::fill(expected.begin() + range[0].get<int>(), expected.begin() + range[1].get<int>() + 1, kind);
    }
  }
  for (char32_t c = 0; c < expected.size(); ++c) ASSERT_EQ(class_of(c), expected[c]) << static_cast<uint32_t>(c);
}

}  // namespace
}  // namespace centavo
