#include "data/documents.h"

#include <gtest/gtest.h>
#include <simdjson.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "data/utf8.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

constexpr size_t kKiB = 1024;

std::string gzip(const std::string& bytes) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& bytes) {
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), bytes.data(), bytes.size());
  EXPECT_EQ(ZSTD_isError(size), 0u);
  out.resize(size);
  return out;
}

class Documents : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("documents test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    write_file_atomic(root_ + "/" + name, bytes);
    return root_ + "/" + name;
  }
  Texts read(const std::string& name, const std::string& bytes) const {
    DocumentReader reader(find_sources({write(name, bytes)}).at(0));
    Texts texts;
    while (const auto text = reader.next()) texts.emplace_back(*text);
    EXPECT_EQ(reader.file_bytes(), static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(reader.file_hash(), XXH3_64bits(bytes.data(), bytes.size()));
    return texts;
  }
  void expect_error(const std::string& name, const std::string& bytes, const std::string& why) const {
    try {
      read(name, bytes);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(root_ + "/" + name), std::string::npos) << error.what();
    }
  }

  std::string root_;
};

std::string joined(const Texts& texts) {
  std::string all;
  for (const std::string& text : texts) all += text;
  return all;
}

TEST_F(Documents, ShortTextIsOneDocument) {
  EXPECT_EQ(read("a.txt", "one\r\n\r\ntwo\n"), (Texts{"one\r\n\r\ntwo\n"}));
  EXPECT_EQ(read("a", "\xEF\xBB\xBFmark"), (Texts{"mark"}));
  EXPECT_EQ(read("empty", ""), Texts{});
  EXPECT_EQ(read("blank", " \n\t\r\n"), Texts{});
  EXPECT_EQ(read("edge", std::string(64 * kKiB, 'x')).size(), 1u);
}

TEST_F(Documents, TheLiteralEndsDocuments) {
  EXPECT_EQ(read("a", "one<|endoftext|>two<|endoftext|>\n<|endoftext|>three"), (Texts{"one", "two", "three"}));
  EXPECT_EQ(read("b", "<|endoftext|><|endoftext|>"), Texts{});
  EXPECT_EQ(read("c", "a<|endoftext|"), (Texts{"a<|endoftext|"}));
}

// The literal lies across every border that a buffer or a cut could have.
TEST_F(Documents, TheLiteralIsFoundAnywhere) {
  for (const size_t border : {64 * kKiB, 128 * kKiB, 256 * kKiB}) {
    for (size_t before = border - 14; before <= border + 1; ++before) {
      const std::string first(before, 'x');
      const Texts texts = read("a", first + "<|endoftext|>tail");
      EXPECT_EQ(joined(texts), first + "tail") << before;
      EXPECT_EQ(texts.back(), "tail") << before;
    }
  }
}

TEST_F(Documents, LongTextIsCutBehindABlankLine) {
  const std::string lead(64 * kKiB + 100, 'a');
  EXPECT_EQ(read("a", lead + "\nline\n\nsecond"), (Texts{lead + "\nline\n\n", "second"}));
  EXPECT_EQ(read("b", lead + "\nline\r\n\r\nsecond"), (Texts{lead + "\nline\r\n\r\n", "second"}));
  // a blank line that ends exactly at 64 KiB counts, one before it does not
  const std::string exact = std::string(64 * kKiB - 2, 'a') + "\n\n";
  EXPECT_EQ(read("c", exact + "b"), (Texts{exact, "b"}));
  const std::string early = std::string(64 * kKiB - 3, 'a') + "\n\nb\nc";
  EXPECT_EQ(read("d", early), (Texts{early.substr(0, early.size() - 1), "c"}));
}

TEST_F(Documents, LongTextWithoutBlankLinesIsCutBehindALine) {
  const std::string lead(70 * kKiB, 'a');
  EXPECT_EQ(read("a", lead + "\n" + lead + "\n\nend"), (Texts{lead + "\n", lead + "\n\n", "end"}));
}

TEST_F(Documents, TextWithoutLinesIsCutBetweenCharacters) {
  std::string text = "x";
  while (text.size() < 300 * kKiB) text += "\xF0\x9F\x98\x80";
  const Texts texts = read("a", text);
  EXPECT_EQ(joined(texts), text);
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0].size(), 128 * kKiB - 3);
  for (const std::string& piece : texts) EXPECT_TRUE(simdjson::validate_utf8(piece));
  // the rest, once it fits into 128 KiB, is not cut again
  EXPECT_EQ(read("b", std::string(128 * kKiB, 'x')).size(), 1u);
  EXPECT_EQ(read("c", std::string(128 * kKiB + 1, 'x')).size(), 2u);
}

TEST_F(Documents, JsonLines) {
  EXPECT_EQ(
      read("a.jsonl", "{\"text\": \"one\"}\n\n  \r\n{\"id\": 3, \"text\": \"t\\u00e9\\n\"}\r\n{\"text\":\"last\"}"),
      (Texts{"one", "t\xC3\xA9\n", "last"}));
  EXPECT_EQ(read("b.jsonl", "\xEF\xBB\xBF{\"text\": \"one<|endoftext|>two\"}\n{\"text\": \"\"}\n"),
            (Texts{"one<|endoftext|>two"}));
  EXPECT_EQ(read("c.jsonl", ""), Texts{});
}

TEST_F(Documents, LongJsonLines) {
  Texts expected;
  std::string file;
  for (size_t i = 0; i < 40; ++i) {
    expected.emplace_back(1 + i * i * 997, static_cast<char>('a' + i % 26));
    file += "{\"text\": \"" + expected.back() + "\"}\n";
  }
  EXPECT_EQ(read("a.jsonl", file), expected);
}

TEST_F(Documents, JsonErrorsNameTheLine) {
  const std::string good = "{\"text\": \"x\"}\n";
  expect_error("a.jsonl", good + "{\"text\": \"x\"\n", "a.jsonl:2: the line is not JSON");
  expect_error("b.jsonl", good + "\n{\"text\": \"x\"} y\n", "b.jsonl:3: the line is not JSON");
  expect_error("c.jsonl", "[1]\n", ":1: the line is not an object");
  expect_error("d.jsonl", good + good + "{\"txt\": \"x\"}", ":3: the line has no field 'text'");
  expect_error("e.jsonl", "{\"text\": 5}\n", ":1: the line has a field 'text' that is not a string");
  expect_error("f.jsonl", "{\"text\": null}\n", "not a string");
  expect_error("g.jsonl", "{\"text\": \"\\ud800\"}\n", "the line is not JSON");
  expect_error("h.jsonl", good + "{\"text\": \"\xFF\"}\n", "h.jsonl:2 is not UTF-8: byte 24 (0xff)");
  expect_error("i.jsonl", std::string(65 << 20, ' '), "i.jsonl:1: the line is longer than 64 MiB");
  expect_error("j.jsonl", std::string(5000, '[') + "\n", "the line is not JSON");
}

TEST_F(Documents, BytesThatAreNotTextAreNamed) {
  expect_error("a", "ab\xC3(", "is not UTF-8: byte 2 (0xc3) begins no character");
  expect_error("b", std::string(200 * kKiB, 'x') + "\x80", fmt::format("byte {} (0x80)", 200 * kKiB));
  expect_error("c", "\xEF\xBB\xBFxy\xC3", "byte 5 (0xc3)");
  expect_error("d", std::string("ab\0c", 4), "is not text: byte 2 is NUL");
  expect_error("e.gz", gzip(std::string(300 * kKiB, 'x') + "\xFE"), fmt::format("byte {} (0xfe)", 300 * kKiB));
  expect_error("f", gzip("x"), "is not text but gzip data; end its name in .gz");
  expect_error("g", zstd("x"), "is not text but zstd data");
  expect_error("h.jsonl", std::string("PAR1\x15\0", 6), "is not text but Parquet");
  EXPECT_EQ(read("PAR", "PAR1 is a text"), (Texts{"PAR1 is a text"}));
  expect_error("i", std::string("\xFF\xFEx\0", 4), "UTF-16");
}

TEST_F(Documents, CompressedText) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += fmt::format("line {}\n{}", i, i % 5000 == 4999 ? "\n" : "");
  const Texts plain = read("a", text);
  EXPECT_GT(plain.size(), 5u);
  EXPECT_EQ(read("a.gz", gzip(text)), plain);
  EXPECT_EQ(read("a.zst", zstd(text)), plain);
  const size_t half = text.size() / 2;
  EXPECT_EQ(read("b.gz", gzip(text.substr(0, half)) + gzip(text.substr(half))), plain);
  EXPECT_EQ(read("b.zst", zstd(text.substr(0, half)) + zstd(text.substr(half))), plain);
  EXPECT_EQ(read("c.jsonl.gz", gzip("{\"text\": \"x\"}\n")), (Texts{"x"}));
  EXPECT_EQ(read("d.gz", gzip("")), Texts{});
}

TEST_F(Documents, EveryTruncationOfCompressedTextIsFound) {
  for (const auto& [name, bytes] :
       {std::pair("a.gz", gzip("some text, some more text")), std::pair("a.zst", zstd("some text, some more text"))}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      expect_error(name, bytes.substr(0, size),
                   fmt::format("in the middle of its compressed data, after {} bytes", size));
    }
  }
}

TEST_F(Documents, DamagedCompressionIsFound) {
  std::string bytes = gzip("some text, some more text");
  bytes[bytes.size() - 6] = static_cast<char>(bytes[bytes.size() - 6] ^ 1);
  expect_error("a.gz", bytes, "cannot be decompressed as gzip: incorrect data check");
  expect_error("b.gz", "plain text", "cannot be decompressed as gzip");
  expect_error("c.gz", gzip("x") + "garbage", "cannot be decompressed as gzip");
  bytes = zstd("some text, some more text");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  expect_error("d.zst", bytes, "cannot be decompressed as zstd");
  expect_error("e.zst", "plain text", "cannot be decompressed as zstd");
  expect_error("f.zst", zstd("x") + "garbage", "cannot be decompressed as zstd");
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  const std::string good = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\x9F\xBF\xF4\x8F\xBF\xBF";
  EXPECT_EQ(invalid_utf8(good), good.size());
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xFF"}) {
    EXPECT_EQ(invalid_utf8(good + bad), good.size()) << bad;
    EXPECT_EQ(invalid_utf8(good + bad + "a"), good.size()) << bad;
  }
}

// The scalar rule and simdjson's agree on every sequence of up to three bytes from the interesting ones.
TEST(Utf8, AgreesWithSimdjson) {
  const std::vector<uint8_t> bytes = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2,
                                      0xDF, 0xE0, 0xE1, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  for (const uint8_t a : bytes) {
    for (const uint8_t b : bytes) {
      for (const uint8_t c : bytes) {
        for (const uint8_t d : bytes) {
          const std::string text = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c),
                                    static_cast<char>(d)};
          ASSERT_EQ(invalid_utf8(text) == text.size(), simdjson::validate_utf8(text));
        }
      }
    }
  }
}

}  // namespace
}  // namespace centavo
