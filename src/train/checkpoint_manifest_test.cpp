#include "train/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/seal.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

Manifest sample() {
  Manifest manifest{
      .step = 7, .program_hash = 1, .data_hash = 0xfedcba9876543210, .writers = 2, .files = {}, .tensors = {}};
  for (const std::string& name : checkpoint_file_names(2)) manifest.files[name] = {100, 5};
  manifest.tensors = {{"step", DType::i64, {1}, {{0, 0, 1}}},
                      {"w", DType::bf16, {4, 100}, {{1, 0, 64}, {0, 64, 100}, {1, 100, 400}}}};
  return manifest;
}

ordered_json sample_json() { return parse_ordered_json(*unseal(print_manifest(sample()))); }

std::string sealed(const ordered_json& json) { return seal(json_text(json, 2) + "\n"); }

void expect_rejected(const ordered_json& json, const std::string& why) {
  try {
    parse_manifest("there/manifest.json", sealed(json));
    ADD_FAILURE() << "accepted, expected: " << why;
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("checkpoint file there/manifest.json "));
    EXPECT_THAT(error.what(), HasSubstr(why));
  }
}

// The value that stands at `pointer` replaced.
void expect_rejected(const std::string& pointer, const ordered_json& value, const std::string& why) {
  ordered_json json = sample_json();
  json[ordered_json::json_pointer(pointer)] = value;
  expect_rejected(json, why);
}

TEST(CheckpointManifest, RoundTrip) {
  const std::string text = print_manifest(sample());
  EXPECT_EQ(parse_manifest("m", text), sample());
  EXPECT_EQ(print_manifest(parse_manifest("m", text)), text);
  EXPECT_EQ(parse_manifest("m", sealed(sample_json())), sample());
  Manifest empty = sample();
  empty.tensors.clear();
  EXPECT_EQ(parse_manifest("m", print_manifest(empty)), empty);
}

TEST(CheckpointManifest, EveryMissingFieldIsNamed) {
  for (const char* key : {"format", "step", "program", "data", "writers", "files", "tensors"}) {
    ordered_json json = sample_json();
    json.erase(key);
    expect_rejected(json, std::string("it has no field ") + key);
  }
  for (const char* key : {"name", "dtype", "shape", "pieces"}) {
    ordered_json json = sample_json();
    json["tensors"][1].erase(key);
    expect_rejected(json, std::string("it has no field ") + key);
  }
}

TEST(CheckpointManifest, Pieces) {
  const std::string pieces = "/tensors/1/pieces";
  expect_rejected(pieces, {{1, 0, 64}, {0, 63, 400}}, "two pieces hold w[63]");
  expect_rejected(pieces, {{1, 0, 64}, {1, 0, 64}, {0, 64, 400}}, "two pieces hold w[0]");
  expect_rejected(pieces, {{1, 0, 64}, {0, 65, 400}}, "no piece holds w[64]");
  expect_rejected(pieces, {{1, 64, 400}, {0, 0, 64}}, "no piece holds w[0]");
  expect_rejected(pieces, {{1, 0, 64}, {0, 64, 399}}, "no piece holds w[399]");
  expect_rejected(pieces, ordered_json::array(), "no piece holds w[0]");
  expect_rejected(pieces, {{1, 0, 64}, {0, 64, 401}}, "is no whole number from 0 to 400");
  expect_rejected(pieces, {{1, 0, 64}, {0, 64, 64}, {0, 64, 400}}, "ends at 64, where it begins");
  expect_rejected(pieces, {{1, 0, 64}, {0, 64, 10}}, "ends at 10, where it begins");
  expect_rejected(pieces, {{2, 0, 400}}, "writer of w is no whole number from 0 to 1");
  expect_rejected(pieces, {{-1, 0, 400}}, "writer of w is no whole number");
  expect_rejected(pieces, {{0, -1, 400}}, "pieces of w is no whole number");
  expect_rejected(pieces, {{0, 0, 18446744073709551615U}}, "pieces of w is no whole number");
  expect_rejected(pieces, {{0, 0, 1e300}}, "pieces of w is no whole number");
  expect_rejected(pieces, {{0, 0}}, "no list of three numbers");
  expect_rejected(pieces, {{0, 0, 400, 1}}, "no list of three numbers");
  expect_rejected(pieces, ordered_json::array({7}), "no list of three numbers");
  expect_rejected(pieces, "w", "the pieces of w are no list");
}

TEST(CheckpointManifest, Tensors) {
  constexpr int64_t kHuge = int64_t{1} << 40;
  expect_rejected("/tensors/1/shape", {kHuge, kHuge}, "tensor w is larger than any memory");
  expect_rejected("/tensors/1/shape", {kHuge, kHuge, 0}, "tensor w is larger than any memory");
  expect_rejected("/tensors/1/shape", {0}, "tensor w is empty");
  expect_rejected("/tensors/1/shape", {-4, 100}, "shape of w is no whole number");
  expect_rejected("/tensors/1/shape", {4, 9223372036854775807}, "shape of w is no whole number");
  expect_rejected("/tensors/1/shape", {4, "100"}, "shape of w is no whole number");
  expect_rejected("/tensors/1/shape", {1, 1, 1, 1, 1, 1, 1, 4, 100}, "the shape of w is no list of sizes");
  expect_rejected("/tensors/1/shape", 400, "the shape of w is no list of sizes");
  expect_rejected("/tensors/1/dtype", "f99", "unknown dtype f99");
  expect_rejected("/tensors/1/dtype", 3, "dtype is no text");
  expect_rejected("/tensors/1/name", "step", "tensor step occurs twice");
  expect_rejected("/tensors/1/name", "", "no tensor can be called ''");
  expect_rejected("/tensors/1/name", "w@64", "no tensor can be called 'w@64'");
  expect_rejected("/tensors/1/name", std::string(256, 'w'), "no tensor can be called 'www");
  expect_rejected("/tensors/1", "w", "it has no field name");
  expect_rejected("/tensors", {{"w", 1}}, "its tensors are no list");
}

TEST(CheckpointManifest, Files) {
  for (const char* name : {"../../../etc/passwd", "/etc/passwd", "manifest.json", "state-00002-of-00002.safetensors",
                           "state-00000-of-00001.safetensors", "state-00000-of-00002.safetensors/../x", ""}) {
    ordered_json json = sample_json();
    json["files"][name] = {{"size", 1}, {"xxh3", hex64(1)}};
    expect_rejected(json, fmt::format("it lists the file '{}', which no checkpoint of 2 writers has", name));
  }
  for (const std::string& name : checkpoint_file_names(2)) {
    ordered_json json = sample_json();
    json["files"].erase(name);
    expect_rejected(json, "it has no field " + name);
  }
  expect_rejected("/files", ordered_json::array(), "its files are no table");
  expect_rejected("/files/config.toml/size", -1, "size is no whole number");
  expect_rejected("/files/config.toml/size", 18446744073709551615U, "size is no whole number");
  expect_rejected("/files/config.toml/xxh3", "00", "xxh3 is no hash");
  expect_rejected("/files/config.toml", 1, "it has no field size");
}

TEST(CheckpointManifest, Numbers) {
  expect_rejected("/writers", 0, "it has no writers");
  expect_rejected("/writers", 100'000, "writers is no whole number from 0 to 99999");
  expect_rejected("/writers", 1, "which no checkpoint of 1 writers has");
  expect_rejected("/writers", 3, "which no checkpoint of 3 writers has");
  expect_rejected("/step", 1.5, "step is no whole number");
  expect_rejected("/step", -1, "step is no whole number");
  expect_rejected("/program", 1, "program is no text");
  expect_rejected("/data", "xyz", "data is no hash");
  expect_rejected("/format", 1, "has format 1, this centavo reads 2: use the centavo that wrote it");
  expect_rejected("/format", 3, "has format 3, this centavo reads 2");
  expect_rejected(parse_ordered_json("{\"x\": 1}"), "it has no field format");
}

// Bytes of the text replaced at random and sealed again: refused with a sentence, or a manifest that is sound.
TEST(CheckpointManifest, NoTextBreaksTheReader) {
  const std::string text = *unseal(print_manifest(sample()));
  const std::string letters = "0123456789-.eE[]{},:\"@/ \\nulltrue\n\x80\xff";
  const RandomStream stream{1, 2};
  int refused = 0;
  for (uint64_t round = 0; round < 20'000; ++round) {
    std::string changed = text;
    for (uint64_t i = 0; i <= round % 3; ++i) {
      const auto draw = static_cast<size_t>((stream.normal(round * 8 + i) + 10) * 1e6);
      changed[1 + draw % (text.size() - 4)] = letters[draw / 7 % letters.size()];
    }
    try {
      const Manifest manifest = parse_manifest("m", seal(changed));
      for (const TensorPieces& tensor : manifest.tensors) {
        int64_t at = 0;
        for (const Piece& piece : tensor.pieces) {
          ASSERT_TRUE(piece.begin == at && piece.end > at && piece.writer >= 0 && piece.writer < manifest.writers);
          at = piece.end;
        }
        ASSERT_EQ(at, element_count(tensor.shape));
      }
    } catch (const UserError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 15'000);
}

}  // namespace
}  // namespace centavo
