#include "data/documents.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/errors.h"
#include "data/byte_stream.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace centavo {
namespace {

constexpr size_t kShortText = size_t{64} << 10;
constexpr size_t kLongText = 2 * kShortText;
constexpr size_t kLongestLine = size_t{64} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlanks = " \t\r\n";

bool is_blank(std::string_view text) { return text.find_first_not_of(kBlanks) == std::string_view::npos; }

// The bytes of a stream that are in use, with room behind them for simdjson's wide loads.
class Lookahead {
 public:
  explicit Lookahead(const Source& source) : stream_(source) {}

  // Reads on until `size` bytes or the rest of the stream can be seen.
  void fill(size_t size) {
    while (end_ - begin_ < size && !ended_) append(stream_.next());
  }
  std::string_view seen() const { return {bytes_.data() + begin_, end_ - begin_}; }
  bool ended() const { return ended_; }
  void skip(size_t size) {
    begin_ += size;
    position_ += size;
  }
  // Of the first byte seen, in the decompressed text.
  uint64_t position() const { return position_; }
  const ByteStream& stream() const { return stream_; }

 private:
  void append(std::string_view piece) {
    ended_ = piece.empty();
    if (begin_ > end_ - begin_) {
      std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
    }
    if (bytes_.size() < end_ + piece.size() + simdjson::SIMDJSON_PADDING) {
      bytes_.resize(2 * (end_ + piece.size()) + simdjson::SIMDJSON_PADDING);
    }
    std::copy(piece.begin(), piece.end(), bytes_.data() + end_);
    end_ += piece.size();
  }

  ByteStream stream_;
  std::string bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t position_ = 0;
  bool ended_ = false;
};

struct Signature {
  std::string_view bytes;
  const char* what;
};

constexpr std::array<Signature, 7> kSignatures = {{{"\x1f\x8b", "gzip data; end its name in .gz"},
                                                   {"\x28\xb5\x2f\xfd", "zstd data; end its name in .zst"},
                                                   {"\xff\xfe", "UTF-16; convert it to UTF-8, say with iconv"},
                                                   {"\xfe\xff", "UTF-16; convert it to UTF-8, say with iconv"},
                                                   {"PAR1", "Parquet; convert it to .jsonl"},
                                                   {"PK\x03\x04", "a zip archive; unpack it"},
                                                   {"%PDF-", "PDF; extract its text"}}};

// The reason why a file that begins with `start` is not text, if it is known.
void name_format(const std::string& path, std::string_view start) {
  for (const Signature& signature : kSignatures) {
    if (start.starts_with(signature.bytes)) user_error("{} is not text but {}", path, signature.what);
  }
}

// How far from the front the text reaches that ends a document; kShortText <= text.size().
size_t end_of_line(std::string_view text, size_t lines_needed) {
  for (size_t at = kShortText - 1; (at = text.find('\n', at)) != std::string_view::npos; ++at) {
    const std::string_view before = text.substr(0, at);
    if (lines_needed == 1 || before.ends_with('\n') || before.ends_with("\n\r")) return at + 1;
  }
  return std::string_view::npos;
}

enum class Segment : uint8_t { whole, goes_on };

// Where to cut a segment of which `text` are the first bytes, at least kLongText when it goes on.
size_t cut_of(std::string_view text, Segment segment) {
  if (segment == Segment::whole && text.size() <= kShortText) return text.size();
  for (const size_t lines : {2, 1}) {
    const size_t end = end_of_line(text.substr(0, kLongText), lines);
    if (end != std::string_view::npos) return end;
  }
  return text.size() <= kLongText ? text.size() : character_start(text, kLongText);
}

}  // namespace

struct DocumentReader::State {
  explicit State(const Source& from) : source(from), text(from) {
    text.fill(8);
    start = text.seen().substr(0, 8);
    if (text.seen().starts_with(kByteOrderMark)) text.skip(kByteOrderMark.size());
  }

  std::optional<std::string_view> next_piece() {
    text.fill(kLongText + kEndOfText.size());
    const std::string_view seen = text.seen().substr(0, kLongText + kEndOfText.size());
    if (seen.empty()) return std::nullopt;
    const size_t mark = seen.find(kEndOfText);
    const bool marked = mark != std::string_view::npos;
    const bool whole = marked || (text.ended() && seen.size() == text.seen().size());
    const std::string_view segment = seen.substr(0, mark);
    const std::string_view piece = segment.substr(0, cut_of(segment, whole ? Segment::whole : Segment::goes_on));
    require_text(piece);
    text.skip(piece.size() + (marked && piece.size() == mark ? kEndOfText.size() : 0));
    return piece;
  }

  std::optional<std::string_view> next_line() {
    const std::string_view raw = read_line();
    if (raw.empty()) return std::nullopt;
    ++line;
    require_text(raw);
    const std::string_view document = is_blank(raw) ? std::string_view() : parse_line(raw);
    text.skip(raw.size());
    return document;
  }

  // With its line end; empty at the end.
  std::string_view read_line() {
    size_t searched = 0;
    for (;;) {
      const size_t end = text.seen().find('\n', searched);
      if (end != std::string_view::npos) return text.seen().substr(0, end + 1);
      searched = text.seen().size();
      if (searched > kLongestLine) {
        user_error("{}:{}: the line is longer than {} MiB; give every document a line of its own", source.path,
                   line + 1, kLongestLine >> 20);
      }
      text.fill(searched + 1);
      if (text.seen().size() == searched) return text.seen();
    }
  }

  std::string_view parse_line(std::string_view raw) {
    simdjson::dom::element root;
    // The bytes behind the line can be read, see Lookahead, so simdjson needs no copy.
    if (const auto error = parser.parse(raw.data(), raw.size(), false).get(root)) malformed(error);
    simdjson::dom::object object;
    if (root.get(object)) wrong_line("is not an object; write it as {\"text\": \"...\"}");
    simdjson::dom::element field;
    if (object["text"].get(field)) wrong_line("has no field 'text'; give it one");
    std::string_view document;
    if (field.get(document)) wrong_line("has a field 'text' that is not a string; make it one");
    return document;
  }

  [[noreturn]] void malformed(simdjson::error_code error) const {
    user_error("{}:{}: the line is not JSON ({}); mend it or take it out", source.path, line,
               simdjson::error_message(error));
  }
  [[noreturn]] void wrong_line(const char* what) const { user_error("{}:{}: the line {}", source.path, line, what); }

  void require_text(std::string_view bytes) const {
    const size_t zero = bytes.find('\0');
    const bool valid = simdjson::validate_utf8(bytes);
    if (zero == std::string_view::npos && valid) return;
    name_format(source.path, start);
    if (zero != std::string_view::npos) {
      user_error("{} is not text: byte {} is NUL; take binary files out of the sources", source.path,
                 text.position() + zero);
    }
    const size_t bad = invalid_utf8(bytes);
    user_error("{} is not UTF-8: byte {} ({:#04x}) begins no character; convert the file, say with iconv", place(),
               text.position() + bad, static_cast<uint8_t>(bytes[bad]));
  }

  std::string place() const {
    return source.format == TextFormat::jsonl ? fmt::format("{}:{}", source.path, line) : source.path;
  }

  Source source;
  Lookahead text;
  std::string start;  // the file's first bytes
  uint64_t line = 0;
  simdjson::dom::parser parser;
};

DocumentReader::DocumentReader(const Source& source) : state_(std::make_unique<State>(source)) {}
DocumentReader::~DocumentReader() = default;
DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;
DocumentReader& DocumentReader::operator=(DocumentReader&&) noexcept = default;

std::optional<std::string_view> DocumentReader::next() {
  for (;;) {
    const auto document = state_->source.format == TextFormat::jsonl ? state_->next_line() : state_->next_piece();
    if (!document || !is_blank(*document)) return document;
  }
}

int64_t DocumentReader::file_bytes() const { return state_->text.stream().file_bytes(); }
uint64_t DocumentReader::file_hash() const { return state_->text.stream().file_hash(); }

}  // namespace centavo
