#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/byte_letters.h"
#include "data/tokenizer.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Tokenizer& sample() {
  static const Tokenizer tokenizer({{'a', 'b'}, {' ', '"'}, {256, '\\'}, {0, 0xff}}, EndOfText::last_id);
  return tokenizer;
}

class TokenizerJson : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "tokenizer_json_test.XXXXXX";
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string write(std::string_view text) const {
    const std::string path = directory_ + "/tokenizer.json";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // "" when the file is taken.
  std::string error_of(std::string_view text) const {
    try {
      Tokenizer::read(write(text));
      return "";
    } catch (const UserError& error) {
      return error.what();
    }
  }
  // The sample's file with the value at `pointer` replaced.
  std::string error_with(const std::string& pointer, const json& value) const {
    json file = parse_json(sample().json());
    file[json::json_pointer(pointer)] = value;
    return error_of(json_text(file));
  }
  std::string error_without(const std::string& owner, const std::string& key) const {
    json file = parse_json(sample().json());
    file[json::json_pointer(owner)].erase(key);
    return error_of(json_text(file));
  }

 private:
  std::string directory_;
};

TEST(ByteLetters, EveryByteHasItsOwn) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(1, static_cast<char>(byte));
    const std::string letter = parse_json('"' + json_letters_of(bytes) + '"').get<std::string>();
    EXPECT_EQ(bytes_of_letters(letter), bytes) << byte;
  }
  EXPECT_EQ(json_letters_of(" the\n"), "\u0120the\u010a");
  EXPECT_EQ(json_letters_of("\"\\"), "\\\"\\\\");
  for (const char* no_byte : {" ", "\n", "\u00a0", "\u00ad", "\u0144", "\u6c34", "\U0001f600"}) {
    EXPECT_EQ(bytes_of_letters(no_byte), std::nullopt) << no_byte;
  }
}

TEST_F(TokenizerJson, ComesBack) {
  const std::vector<Tokenizer> tokenizers = {Tokenizer(), Tokenizer({}, EndOfText::last_id), Tokenizer({{'a', 'b'}}),
                                             sample()};
  for (const Tokenizer& tokenizer : tokenizers) {
    const Tokenizer read = Tokenizer::read(write(tokenizer.json()));
    EXPECT_EQ(read.merges(), tokenizer.merges());
    EXPECT_EQ(read.end_of_text(), tokenizer.end_of_text());
    EXPECT_EQ(read.json(), tokenizer.json());
    EXPECT_EQ(read.hash(), tokenizer.hash());
  }
  EXPECT_NE(tokenizers[0].hash(), tokenizers[1].hash());
}

TEST_F(TokenizerJson, TakesTheOtherSpellings) {
  json file = parse_json(sample().json());
  file["model"]["merges"] = {{"a", "b"}, {"\u0120", "\""}, "ab \\", {"\u0100", "\u00ff"}};
  file["model"]["vocab"].erase("<|endoftext|>");
  file["model"]["end_of_word_suffix"] = "";
  file["decoder"]["add_prefix_space"] = true;
  file.erase("normalizer");
  file["model"].erase("ignore_merges");
  EXPECT_EQ(Tokenizer::read(write(json_text(file))).json(), sample().json());
}

TEST_F(TokenizerJson, NamesFileKeyAndValue) {
  EXPECT_THAT(error_with("/model/type", "Unigram"),
              AllOf(HasSubstr("/tokenizer.json: model.type is \"Unigram\", not \"BPE\""), HasSubstr("; give ")));
  EXPECT_THAT(error_with("/version", 2), HasSubstr("version is 2, not \"1.0\""));
  EXPECT_THAT(error_with("/normalizer", {{"type", "NFC"}}), HasSubstr("normalizer is {\"type\":\"NFC\"}, not null"));
  EXPECT_THAT(error_with("/post_processor", {{"type", "ByteLevel"}}), HasSubstr("post_processor is"));
  EXPECT_THAT(error_with("/truncation", 7), HasSubstr("truncation is 7, not null"));
  EXPECT_THAT(error_with("/pre_tokenizer/add_prefix_space", true), HasSubstr("add_prefix_space is true, not false"));
  EXPECT_THAT(error_with("/pre_tokenizer/use_regex", false), HasSubstr("pre_tokenizer.use_regex is false, not true"));
  EXPECT_THAT(error_with("/pre_tokenizer", nullptr), HasSubstr("pre_tokenizer is null, not an object"));
  EXPECT_THAT(error_with("/pre_tokenizer/type", "Whitespace"), HasSubstr("pre_tokenizer.type is \"Whitespace\""));
  EXPECT_THAT(error_with("/decoder/type", "WordPiece"), HasSubstr("decoder.type is \"WordPiece\""));
  EXPECT_THAT(error_with("/model/dropout", 0.1), HasSubstr("model.dropout is 0.1, not null"));
  EXPECT_THAT(error_with("/model/ignore_merges", true), HasSubstr("model.ignore_merges is true, not false"));
  EXPECT_THAT(error_with("/model/continuing_subword_prefix", "##"), HasSubstr("is \"##\", not null or \"\""));
  EXPECT_THAT(error_with("/model/x.y", 1), HasSubstr("model.x.y is 1, which centavo does not know"));
  EXPECT_THAT(error_with("/extra", std::string(1000, 'x')), HasSubstr("xxx..., which centavo does not know"));
}

TEST_F(TokenizerJson, MissesWhatIsNeeded) {
  EXPECT_THAT(error_without("", "model"), HasSubstr("it has no model"));
  EXPECT_THAT(error_without("", "pre_tokenizer"), HasSubstr("it has no pre_tokenizer"));
  EXPECT_THAT(error_without("", "decoder"), HasSubstr("it has no decoder"));
  EXPECT_THAT(error_without("/model", "vocab"), HasSubstr("model has no vocab"));
  EXPECT_THAT(error_without("/model", "merges"), HasSubstr("model has no merges"));
  EXPECT_THAT(error_without("/model", "type"), HasSubstr("model has no type"));
  EXPECT_THAT(error_without("/pre_tokenizer", "add_prefix_space"), HasSubstr("pre_tokenizer has no add_prefix_space"));
  EXPECT_THAT(error_without("/added_tokens/0", "id"), HasSubstr("added_tokens[0] has no id"));
  EXPECT_THAT(error_without("/added_tokens/0", "special"), HasSubstr("added_tokens[0] has no special"));
}

TEST_F(TokenizerJson, RefusesWrongVocabularies) {
  EXPECT_THAT(error_with("/model/vocab", json::array()), HasSubstr("model.vocab is [], not an object"));
  EXPECT_THAT(error_with("/model/vocab", json::object()), HasSubstr("model.vocab has no token for the byte 0"));
  EXPECT_THAT(error_with("/model/vocab/ab", 261), HasSubstr("gives \"ab\" the id 261, not one of its 261 ids from 0"));
  EXPECT_THAT(error_with("/model/vocab/ab", -1), HasSubstr("the id -1"));
  EXPECT_THAT(error_with("/model/vocab/ab", 1.5), HasSubstr("the id 1.5"));
  EXPECT_THAT(error_with("/model/vocab/ab", "256"), HasSubstr("the id \"256\""));
  EXPECT_THAT(error_with("/model/vocab/ab", UINT64_MAX), HasSubstr("the id 18446744073709551615"));
  EXPECT_THAT(error_with("/model/vocab/ab", 257), HasSubstr("the id 257 of another token"));
  EXPECT_THAT(error_with("/model/vocab/\u6c34", 261), HasSubstr("which does not spell bytes"));
  EXPECT_THAT(error_with("/model/vocab/", 261), HasSubstr("\"\", which does not spell bytes"));
  EXPECT_THAT(error_with("/model/vocab/xy", 261), HasSubstr("has 262 tokens in vocab, but 256 bytes and 4 merges and"));
  EXPECT_THAT(error_without("/model/vocab", "b"), HasSubstr("not one of its 260 ids"));
}

TEST_F(TokenizerJson, RefusesOtherIdsForBytes) {
  json file = parse_json(sample().json());
  std::swap(file["model"]["vocab"]["a"], file["model"]["vocab"]["b"]);
  EXPECT_THAT(error_of(json_text(file)), HasSubstr("gives the byte 97 the id 98, not 97"));
}

TEST_F(TokenizerJson, RefusesWrongMerges) {
  EXPECT_THAT(error_with("/model/merges", 5), HasSubstr("model.merges is 5, not a list"));
  EXPECT_THAT(error_with("/model/merges", json::array()), HasSubstr("has 261 tokens in vocab, but 256 bytes and 0"));
  EXPECT_THAT(error_with("/model/merges/0", "ab"), HasSubstr("has \"ab\" at 0, which is not two tokens"));
  EXPECT_THAT(error_with("/model/merges/0", "a  b"), HasSubstr("not two tokens"));
  EXPECT_THAT(error_with("/model/merges/0", {"a", "b", "c"}), HasSubstr("not two tokens"));
  EXPECT_THAT(error_with("/model/merges/0", {"a", 1}), HasSubstr("not two tokens"));
  EXPECT_THAT(error_with("/model/merges/0", nullptr), HasSubstr("has null at 0, which is not two tokens"));
  EXPECT_THAT(error_with("/model/merges/0", " "), HasSubstr("of a token that model.vocab does not have"));
  EXPECT_THAT(error_with("/model/merges/1", "a xyz"), HasSubstr("of a token that model.vocab does not have"));
  EXPECT_THAT(error_with("/model/merges/1", "a \u6c34"), HasSubstr("of a token that model.vocab does not have"));
  EXPECT_THAT(error_with("/model/merges/0", "ab \\"), HasSubstr("whose parts no merge before it makes"));
  EXPECT_THAT(error_with("/model/merges/0", "<|endoftext|> a"), HasSubstr("whose parts no merge before it makes"));
  EXPECT_THAT(error_with("/model/merges/1", "a b"), HasSubstr("has \"a b\" at 1, whose token has not the id 257"));
}

TEST_F(TokenizerJson, RefusesOtherAddedTokens) {
  EXPECT_THAT(error_with("/added_tokens", nullptr), HasSubstr("added_tokens is null, not a list"));
  EXPECT_THAT(error_with("/added_tokens/1", json::object()), HasSubstr("added_tokens has 2 tokens, not only"));
  EXPECT_THAT(error_with("/added_tokens/0", 3), HasSubstr("added_tokens[0] is 3, not an object"));
  EXPECT_THAT(error_with("/added_tokens/0/content", "<s>"), HasSubstr("added_tokens[0].content is \"<s>\""));
  EXPECT_THAT(error_with("/added_tokens/0/normalized", true), HasSubstr("added_tokens[0].normalized is true"));
  EXPECT_THAT(error_with("/added_tokens/0/lstrip", true), HasSubstr("added_tokens[0].lstrip is true, not false"));
  EXPECT_THAT(error_with("/added_tokens/0/id", 256), HasSubstr("added_tokens[0].id is 256, not 260"));
  EXPECT_THAT(error_with("/added_tokens/0/id", "260"), HasSubstr("is \"260\", not a whole number"));
  EXPECT_THAT(error_with("/added_tokens", json::array()), HasSubstr("has 261 tokens in vocab"));
  json file = parse_json(sample().json());
  std::swap(file["model"]["vocab"]["<|endoftext|>"], file["model"]["vocab"]["ab"]);
  EXPECT_THAT(error_of(json_text(file)), HasSubstr("gives <|endoftext|> the id 256, but added_tokens 260"));
}

// Once every value is at its place, the same token twice or a key twice is left.
TEST_F(TokenizerJson, RefusesWhatOccursTwice) {
  std::string text = sample().json();
  EXPECT_THAT(error_of("{\"version\": \"1.0\", " + text.substr(1)), HasSubstr("version occurs twice"));
  const size_t vocab = text.find("\"ab\": 256");
  text.insert(vocab, "\"ab\": 261, ");
  EXPECT_THAT(error_of(text), HasSubstr("model.vocab has \"ab\" twice"));
}

TEST_F(TokenizerJson, RefusesWhatIsNotJson) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("\xff\xfe"), std::string(100'000, '['),
                                  sample().json() + "x", "\xef\xbb\xbf" + sample().json(), std::string("{}\0", 3)}) {
    EXPECT_THAT(error_of(text), HasSubstr("it is not JSON"));
  }
  EXPECT_THAT(error_of("[]"), HasSubstr("it is [], not an object"));
  EXPECT_THAT(error_of("null"), HasSubstr("it is null, not an object"));
  EXPECT_THROW(Tokenizer::read("/nowhere/tokenizer.json"), UserError);
}

TEST_F(TokenizerJson, RefusesAFileAboveItsBound) {
  const std::string path = write("");
  std::filesystem::resize_file(path, (size_t{256} << 20) + 1);
  try {
    Tokenizer::read(path);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("it has 268435457 bytes, more than 268435456"));
  }
}

TEST_F(TokenizerJson, ATruncatedFileIsAnError) {
  const std::string text = sample().json();
  for (size_t size = 0; size + 1 < text.size(); size += 7) EXPECT_NE(error_of(text.substr(0, size)), "") << size;
}

// A damaged file is refused or reads as a tokenizer that writes itself again; error_of lets nothing else through.
TEST_F(TokenizerJson, SurvivesDamage) {
  const std::string text = sample().json();
  constexpr std::string_view replacements = "0129\"\\,:{}[]a \xc4\x80\xff\n-.tn";
  int refused = 0;
  for (uint64_t round = 0; round < 3000; ++round) {
    const auto bits = philox(11, round, 0);
    std::string damaged = text;
    damaged[bits[0] % damaged.size()] = replacements[bits[1] % replacements.size()];
    if (bits[2] % 2 == 0) damaged.erase(bits[3] % damaged.size(), 1 + bits[2] % 9);
    refused += error_of(damaged).empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 2000);
}

}  // namespace
}  // namespace centavo
