#include "data/byte_stream.h"

#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "base/errors.h"
#include "base/files.h"

namespace centavo {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr int kGzipOnly = 15 + 16;  // the largest window, and no zlib header

// The file as it is, with its hash.
class HashedFile {
 public:
  explicit HashedFile(const std::string& path) : file_(path), hash_(XXH3_createState(), &XXH3_freeState) {
    if (!hash_) throw std::bad_alloc();
    XXH3_64bits_reset(hash_.get());
  }

  std::string_view next() {
    const size_t got = file_.read(buffer_);
    bytes_ += static_cast<int64_t>(got);
    XXH3_64bits_update(hash_.get(), buffer_.data(), got);
    return {buffer_.data(), got};
  }
  int64_t bytes() const { return bytes_; }
  uint64_t hash() const { return XXH3_64bits_digest(hash_.get()); }

 private:
  FileReader file_;
  std::vector<char> buffer_ = std::vector<char>(kPieceBytes);
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash_;
  int64_t bytes_ = 0;
};

// Takes bytes from the front of `in`, writes to `out` and returns how many it wrote. between_members() tells whether
// the file may end here.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual size_t decode(std::string_view& in, std::vector<char>& out) = 0;
  virtual bool between_members() const = 0;
};

[[noreturn]] void damaged(const std::string& path, const char* kind, const std::string& why) {
  user_error("{} cannot be decompressed as {}: {}; get the file again, or name it as what it is", path, kind, why);
}

class GzipDecoder : public Decoder {
 public:
  explicit GzipDecoder(std::string path) : path_(std::move(path)) {
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  size_t decode(std::string_view& in, std::vector<char>& out) override {
    if (at_end_) inflateReset(&stream_);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));  // zlib only reads it
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      damaged(path_, "gzip", stream_.msg == nullptr ? "it needs a dictionary" : stream_.msg);
    }
    at_end_ = status == Z_STREAM_END;
    in.remove_prefix(in.size() - stream_.avail_in);
    return out.size() - stream_.avail_out;
  }
  bool between_members() const override { return at_end_; }

 private:
  std::string path_;
  z_stream stream_ = {};
  bool at_end_ = false;
};

class ZstdDecoder : public Decoder {
 public:
  explicit ZstdDecoder(std::string path) : path_(std::move(path)), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (!stream_) throw std::bad_alloc();
  }

  size_t decode(std::string_view& in, std::vector<char>& out) override {
    ZSTD_inBuffer from = {in.data(), in.size(), 0};
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    const size_t left = ZSTD_decompressStream(stream_.get(), &to, &from);
    if (ZSTD_isError(left) != 0) damaged(path_, "zstd", ZSTD_getErrorName(left));
    at_end_ = left == 0;
    in.remove_prefix(from.pos);
    return to.pos;
  }
  bool between_members() const override { return at_end_; }

 private:
  std::string path_;
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
  bool at_end_ = false;
};

std::unique_ptr<Decoder> decoder_of(const Source& source) {
  if (source.compression == Compression::gzip) return std::make_unique<GzipDecoder>(source.path);
  if (source.compression == Compression::zstd) return std::make_unique<ZstdDecoder>(source.path);
  return nullptr;
}

}  // namespace

struct ByteStream::State {
  explicit State(const Source& source) : path(source.path), file(source.path), decoder(decoder_of(source)) {
    if (decoder) out.resize(kPieceBytes);
  }

  std::string_view decoded() {
    for (;;) {
      if (in.empty()) in = file.next();
      // A decoder may hold back output that did not fit, so it is asked once more at the end of the file.
      const bool at_end = in.empty();
      if (at_end && decoder->between_members()) return {};
      const size_t got = decoder->decode(in, out);
      if (got > 0) return {out.data(), got};
      if (at_end) {
        user_error("{} ends in the middle of its compressed data, after {} bytes: get the whole file", path,
                   file.bytes());
      }
    }
  }

  std::string path;
  HashedFile file;
  std::unique_ptr<Decoder> decoder;  // none when the file is not compressed
  std::string_view in;
  std::vector<char> out;
};

ByteStream::ByteStream(const Source& source) : state_(std::make_unique<State>(source)) {}
ByteStream::~ByteStream() = default;
ByteStream::ByteStream(ByteStream&&) noexcept = default;
ByteStream& ByteStream::operator=(ByteStream&&) noexcept = default;

std::string_view ByteStream::next() { return state_->decoder ? state_->decoded() : state_->file.next(); }
int64_t ByteStream::file_bytes() const { return state_->file.bytes(); }
uint64_t ByteStream::file_hash() const { return state_->file.hash(); }

}  // namespace centavo
