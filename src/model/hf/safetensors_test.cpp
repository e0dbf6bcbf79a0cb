#include "model/hf/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/errors.h"

namespace centavo {
namespace {

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + fmt::format("safetensors_test.{}", ::getpid());
    std::filesystem::create_directories(directory_);
    path_ = directory_ + "/t.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // A file of this header and data, length and padding as they are.
  void put(const std::string& header, const std::string& data) { put(header.size(), header, data); }
  void put(uint64_t length, const std::string& header, const std::string& data) {
    std::string bytes(sizeof length, '\0');
    std::memcpy(bytes.data(), &length, sizeof length);
    write_file_atomic(path_, bytes + header + data);
  }

  void expect_rejected(const std::string& why) {
    try {
      const SafetensorsFile file(path_);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(path_), std::string::npos) << error.what();
    }
  }

  std::string directory_;
  std::string path_;
};

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, dtype, shape, begin, end);
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST_F(Safetensors, BytesByHand) {
  const std::array<float, 2> weight = {1.0f, -2.0f};
  const std::array<uint8_t, 3> flags = {7, 8, 9};
  const std::vector<TensorView> tensors = {
      {"flags", DType::u8, {3}, std::as_bytes(std::span(flags))},
      {"weight", DType::f32, {2, 1}, std::as_bytes(std::span(weight))},
  };
  write_safetensors(path_, tensors, {});
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("flags":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  const std::string written = read_file(path_);
  EXPECT_EQ(written.substr(8, header.size()), header);
  const size_t data = (8 + header.size() + 7) / 8 * 8;
  EXPECT_EQ(written.substr(8 + header.size(), data - 8 - header.size()).find_first_not_of(' '), std::string::npos);
  EXPECT_EQ(static_cast<size_t>(static_cast<unsigned char>(written[0])) + 8, data);
  EXPECT_EQ(written.substr(data), std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x07\x08\x09", 11));
}

TEST_F(Safetensors, RoundTripOfEveryDtypeAndShape) {
  const std::vector<Shape> shapes = {{}, {0}, {3, 0, 5}, {1}, {7}, {2, 3}, {2, 1, 5}};
  std::vector<std::string> data;
  std::vector<TensorView> tensors;
  for (const DType dtype :
       {DType::f64, DType::f32, DType::bf16, DType::f8e4m3, DType::f8e5m2, DType::i32, DType::i64, DType::u8}) {
    for (const Shape& shape : shapes) {
      std::string content(static_cast<size_t>(element_count(shape) * size_of(dtype)), '\0');
      for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 37 + data.size());
      data.push_back(content);
      tensors.push_back({fmt::format("{}.{}", name_of(dtype), to_string(shape)), dtype, shape, {}});
    }
  }
  for (size_t i = 0; i < data.size(); ++i) tensors[i].bytes = bytes_of(data[i]);
  write_safetensors(path_, tensors, {{"step", "12"}, {"quote\"", "line\nbreak"}});

  SafetensorsFile opened(path_);
  const SafetensorsFile file = std::move(opened);
  EXPECT_EQ(file.tensors().size(), tensors.size());
  for (const TensorView& expected : tensors) {
    const TensorView* got = file.find(expected.name);
    ASSERT_NE(got, nullptr) << expected.name;
    EXPECT_EQ(got->dtype, expected.dtype);
    EXPECT_EQ(got->shape, expected.shape);
    EXPECT_TRUE(std::ranges::equal(got->bytes, expected.bytes)) << expected.name;
  }
  EXPECT_EQ(file.find("absent"), nullptr);
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote\"", "line\nbreak"}, {"step", "12"}};
  EXPECT_EQ(file.metadata(), metadata);
}

TEST_F(Safetensors, SameBytesWhateverTheOrderGiven) {
  const std::string a(4, 'a');
  const std::string b(4, 'b');
  std::vector<TensorView> tensors = {{"b", DType::f32, {1}, bytes_of(b)}, {"a", DType::f32, {1}, bytes_of(a)}};
  write_safetensors(path_, tensors, {});
  const std::string first = read_file(path_);
  std::swap(tensors[0], tensors[1]);
  write_safetensors(path_, tensors, {});
  EXPECT_EQ(read_file(path_), first);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1) << "a temporary file is left";
}

TEST_F(Safetensors, PartsAreTheirBytesEndToEnd) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  const std::vector<TensorView> whole = {{"w", DType::f32, {2, 3}, bytes}};
  write_safetensors(path_, whole, {});
  const std::string expected = read_file(path_);
  const std::vector<TensorParts> pieces = {
      {"w", DType::f32, {2, 3}, {bytes.first(4), bytes.subspan(4, 0), bytes.subspan(4, 16), bytes.last(4)}}};
  write_safetensors(path_, pieces, {});
  EXPECT_EQ(read_file(path_), expected);
}

TEST_F(Safetensors, ReadsForeignLayouts) {
  // no metadata, unaligned data, entries out of order, scalars, padding
  put("{" + entry("w", "F32", "[]", 1, 5) + ", \n" + entry("c", "U8", "[1]", 0, 1) + "}   ", "xabcd");
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "c");
  EXPECT_TRUE(std::ranges::equal(file.find("w")->bytes, bytes_of("abcd")));
  EXPECT_TRUE(file.metadata().empty());
  put("{}", "");
  EXPECT_TRUE(SafetensorsFile(path_).tensors().empty());
}

TEST_F(Safetensors, RejectsADamagedHeader) {
  write_file_atomic(path_, "1234567");
  expect_rejected("no room for the header's length");
  put(uint64_t{1} << 40, "{}", "");
  expect_rejected("is above 16777216");
  put(3, "{}", "");
  expect_rejected("more than the file's 10 bytes hold");
  put("", "");
  expect_rejected("does not begin with {");
  put(" {}", "");
  expect_rejected("does not begin with {");
  put("{\"a\":", "");
  expect_rejected("is not JSON at its byte");
  put("{} x", "");
  expect_rejected("is not JSON at its byte");
  put(std::string("{}\0x", 4), "");
  expect_rejected("zero byte");
  put("{\"\xff\":1}", "");
  expect_rejected("is not JSON at its byte");
}

TEST_F(Safetensors, RejectsDeepNestingWithoutRecursion) {
  put("{\"a\":{\"shape\":[[1]]}}", "");
  expect_rejected("nested deeper");
  put("{\"a\":" + std::string(10'000'000, '['), "");  // NOLINT: as long as that
  expect_rejected("nested deeper");
}

TEST_F(Safetensors, RejectsDuplicateNames) {
  put("{" + entry("w", "U8", "[1]", 0, 1) + "," + entry("w", "U8", "[1]", 1, 2) + "}", "ab");
  expect_rejected("the name w occurs twice");
  put(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "a");
  expect_rejected("the name dtype occurs twice");
  put(R"({"__metadata__":{"a":"1","a":"2"}})", "");
  expect_rejected("the name a occurs twice");
}

TEST_F(Safetensors, RejectsDefectiveEntries) {
  const auto expect = [&](const std::string& header, const std::string& why) {
    put(header, "abcd");
    expect_rejected(why);
  };
  expect(R"({"w":3})", "tensor w has no dtype");
  expect(R"({"w":{"dtype":"U8","shape":[4]}})", "tensor w has no data_offsets");
  expect(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"stride":[1]}})", "more than dtype");
  expect(R"({"w":{"dtype":5,"shape":[4],"data_offsets":[0,4]}})", "dtype of w is not a string");
  expect("{" + entry("w", "F16", "[2]", 0, 4) + "}", "tensor w has dtype F16");
  expect("{" + entry("w", "U8", "[-4]", 0, 4) + "}", "shape of w is not a list of sizes");
  expect("{" + entry("w", "U8", "[4.0]", 0, 4) + "}", "shape of w is not a list of sizes");
  expect("{" + entry("w", "U8", "4", 0, 4) + "}", "shape of w is not a list of sizes");
  expect("{" + entry("w", "U8", "[18446744073709551615]", 0, 4) + "}", "shape of w is not a list of sizes");
  expect("{" + entry("w", "F32", "[4294967296,4294967296]", 0, 0) + "}", "too large to address");
  expect("{" + entry("w", "F64", "[2305843009213693952]", 0, 0) + "}", "too large to address");
  expect("{" + entry("w", "U8", "[3]", 0, 4) + "}", "needs 3 bytes but has 4");
  expect("{" + entry("w", "U8", "[4]", 4, 0) + "}", "before its begin");
  expect(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4,8]}})", "data_offsets of w are not two sizes");
  expect(R"({"__metadata__":{"a":1}})", "__metadata__.a is not a string");
  expect(R"({"__metadata__":[]})", "__metadata__ is not an object");
}

TEST_F(Safetensors, RejectsHolesOverlapsAndWrongFileSizes) {
  const auto expect = [&](const std::string& entries, const std::string& why) {
    put("{" + entries + "}", "abcd");
    expect_rejected(why);
  };
  expect(entry("w", "U8", "[3]", 1, 4), "a hole of 1 bytes lies before tensor w");
  expect(entry("v", "U8", "[1]", 0, 1) + "," + entry("w", "U8", "[2]", 2, 4), "a hole of 1 bytes lies before tensor w");
  expect(entry("v", "U8", "[3]", 0, 3) + "," + entry("w", "U8", "[2]", 2, 4), "tensor w overlaps");
  expect(entry("v", "U8", "[4]", 0, 4) + "," + entry("w", "U8", "[0]", 2, 2), "tensor w overlaps");
  expect(entry("w", "U8", "[3]", 0, 3), "1 bytes follow the last tensor");
  expect(entry("w", "U8", "[5]", 0, 5), "ends at 5 of 4 data bytes");
}

TEST_F(Safetensors, MissingFileIsAUserError) {
  EXPECT_THROW(SafetensorsFile(path_ + ".absent"), UserError);
  EXPECT_THROW(SafetensorsFile{directory_}, UserError);
}

TEST_F(Safetensors, EveryTruncationIsRejected) {
  const std::string data = "abcdefgh";
  const std::vector<TensorView> tensors = {{"w", DType::f32, {2}, bytes_of(data)}};
  write_safetensors(path_, tensors, {});
  const std::string whole = read_file(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    write_file_atomic(path_, whole.substr(0, size));
    EXPECT_THROW(SafetensorsFile{path_}, UserError) << size;
  }
}

}  // namespace
}  // namespace centavo
