#include "data/gzip_size.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window, in gzip's wrapper
constexpr int kMemoryLevel = 8;

}  // namespace

int64_t gzip_bytes(std::string_view text) {
  z_stream stream{};  // its next_in is not const, but only read
  CHECK(deflateInit2(&stream, 9, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK);
  std::array<unsigned char, 1 << 16> piece;
  int64_t bytes = 0;
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    if (stream.avail_in == 0 && !text.empty()) {
      stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data()));
      stream.avail_in = static_cast<unsigned>(std::min<size_t>(text.size(), std::numeric_limits<unsigned>::max()));
      text.remove_prefix(stream.avail_in);
    }
    stream.next_out = piece.data();
    stream.avail_out = piece.size();
    state = deflate(&stream, text.empty() ? Z_FINISH : Z_NO_FLUSH);
    CHECK(state == Z_OK || state == Z_STREAM_END, "deflate gave {}", state);
    bytes += static_cast<int64_t>(piece.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  return bytes;
}

}  // namespace centavo
