#include "model/hf/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"

namespace centavo {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and copied as they are");

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;
constexpr int kMaxDepth = 3;  // file, entry, shape
constexpr const char* kMetadata = "__metadata__";

struct Spelling {
  DType dtype;
  std::string_view name;
};

// In the reference writer's order.
constexpr std::array<Spelling, 8> kSpellings = {{
    {DType::i64, "I64"},
    {DType::f64, "F64"},
    {DType::f32, "F32"},
    {DType::i32, "I32"},
    {DType::bf16, "BF16"},
    {DType::f8e4m3, "F8_E4M3"},
    {DType::f8e5m2, "F8_E5M2"},
    {DType::u8, "U8"},
}};

template <class... Args>
[[noreturn]] void reject(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
  user_error("safetensors file {} is damaged or not of this format: {}; restore it or write it again", path,
             fmt::format(format, std::forward<Args>(args)...));
}

// Where tensor `name` lies in the data.
struct Extent {
  TensorView tensor;
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::string_view header_text(const std::string& path, std::string_view file) {
  uint64_t length = 0;
  if (file.size() < sizeof length) reject(path, "it has {} bytes and no room for the header's length", file.size());
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kMaxHeaderBytes) reject(path, "the header's length {} is above {}", length, kMaxHeaderBytes);
  if (length > file.size() - sizeof length) {
    reject(path, "the header's length {} is more than the file's {} bytes hold", length, file.size());
  }
  const std::string_view text = file.substr(sizeof length, length);
  if (!text.starts_with('{')) reject(path, "the header does not begin with {{");
  // The JSON parser takes a zero byte for the end of the text.
  if (text.find('\0') != std::string_view::npos) reject(path, "the header holds a zero byte");
  return text;
}

// The tree of a header that is no deeper than the format and has no key twice; the library alone would keep the last.
json parse_header(const std::string& path, std::string_view text) {
  std::array<std::set<std::string>, kMaxDepth> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    const bool opens = event == json::parse_event_t::object_start || event == json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth) reject(path, "the header is nested deeper than {} levels", kMaxDepth);
    if (event == json::parse_event_t::object_start) keys.at(static_cast<size_t>(depth)).clear();
    if (event == json::parse_event_t::key &&
        !keys.at(static_cast<size_t>(depth) - 1).insert(parsed.get<std::string>()).second) {
      reject(path, "the name {} occurs twice", parsed.get<std::string>());
    }
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::parse_error& error) {
    reject(path, "the header is not JSON at its byte {}", error.byte);
  }
}

std::map<std::string, std::string> parse_metadata(const std::string& path, const json& entry) {
  if (!entry.is_object()) reject(path, "{} is not an object", kMetadata);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) reject(path, "{}.{} is not a string", kMetadata, key);
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// Every element of an array of unsigned integers below 2^63; nothing when it is not one.
std::optional<std::vector<int64_t>> parse_counts(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> counts;
  for (const json& element : value) {
    if (!element.is_number_unsigned() || element.get<uint64_t>() > INT64_MAX) return std::nullopt;
    counts.push_back(element.get<int64_t>());
  }
  return counts;
}

// Nothing when it does not fit 63 bits. Zero sizes are multiplied last: [0, huge, huge] is an empty tensor.
std::optional<int64_t> byte_count(DType dtype, Shape shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  int64_t bytes = size_of(dtype);
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

DType parse_tensor_dtype(const std::string& path, const std::string& name, const json& value) {
  if (!value.is_string()) reject(path, "the dtype of {} is not a string", name);
  const std::string spelling = value.get<std::string>();
  for (const Spelling& known : kSpellings) {
    if (known.name == spelling) return known.dtype;
  }
  user_error("safetensors file {}: tensor {} has dtype {}, which centavo does not read; convert it to F32 or BF16",
             path, name, spelling);
}

Extent parse_entry(const std::string& path, const std::string& name, const json& entry) {
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!entry.is_object() || !entry.contains(key)) reject(path, "tensor {} has no {}", name, key);
  }
  if (entry.size() != 3) reject(path, "tensor {} has more than dtype, shape and data_offsets", name);
  const DType dtype = parse_tensor_dtype(path, name, entry["dtype"]);
  const std::optional<Shape> shape = parse_counts(entry["shape"]);
  if (!shape) reject(path, "the shape of {} is not a list of sizes", name);
  const std::optional<std::vector<int64_t>> offsets = parse_counts(entry["data_offsets"]);
  if (!offsets || offsets->size() != 2) reject(path, "the data_offsets of {} are not two sizes", name);
  const int64_t begin = offsets->at(0);
  const int64_t end = offsets->at(1);
  if (begin > end) reject(path, "tensor {} ends at {} before its begin {}", name, end, begin);
  const std::optional<int64_t> bytes = byte_count(dtype, *shape);
  if (!bytes) reject(path, "tensor {} of shape {} is too large to address", name, to_string(*shape));
  if (*bytes != end - begin) {
    reject(path, "tensor {} of shape {} needs {} bytes but has {}", name, to_string(*shape), *bytes, end - begin);
  }
  return {{name, dtype, *shape, {}}, static_cast<uint64_t>(begin), static_cast<uint64_t>(end)};
}

// Orders the tensors by place and points them at their bytes.
std::vector<TensorView> lay_out(const std::string& path, std::vector<Extent> extents, std::string_view data) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  std::vector<TensorView> tensors;
  uint64_t at = 0;
  for (Extent& extent : extents) {
    const std::string& name = extent.tensor.name;
    if (extent.begin > at) reject(path, "a hole of {} bytes lies before tensor {}", extent.begin - at, name);
    if (extent.begin < at) reject(path, "tensor {} overlaps the one before it", name);
    if (extent.end > data.size()) reject(path, "tensor {} ends at {} of {} data bytes", name, extent.end, data.size());
    extent.tensor.bytes = std::as_bytes(std::span(data.substr(extent.begin, extent.end - extent.begin)));
    at = extent.end;
    tensors.push_back(std::move(extent.tensor));
  }
  if (at != data.size()) reject(path, "{} bytes follow the last tensor", data.size() - at);
  return tensors;
}

size_t rank_of(DType dtype) {
  const auto found =
      std::find_if(kSpellings.begin(), kSpellings.end(), [&](const Spelling& s) { return s.dtype == dtype; });
  return static_cast<size_t>(found - kSpellings.begin());
}

size_t bytes_of(const TensorParts& tensor) {
  size_t bytes = 0;
  for (const ByteSource& part : tensor.parts) bytes += part.size();
  return bytes;
}

std::vector<const TensorParts*> in_file_order(std::span<const TensorParts> tensors) {
  std::vector<const TensorParts*> order;
  for (const TensorParts& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorParts* a, const TensorParts* b) {
    return std::pair(rank_of(a->dtype), std::string_view(a->name)) <
           std::pair(rank_of(b->dtype), std::string_view(b->name));
  });
  return order;
}

std::string render_header(const std::vector<const TensorParts*>& order,
                          const std::map<std::string, std::string>& metadata) {
  ordered_json header;
  header[kMetadata] = metadata;
  size_t at = 0;
  for (const TensorParts* tensor : order) {
    const size_t bytes = bytes_of(*tensor);
    CHECK(!header.contains(tensor->name), "tensor {} twice", tensor->name);
    CHECK(byte_count(tensor->dtype, tensor->shape) == static_cast<int64_t>(bytes), "tensor {} of shape {} has {} bytes",
          tensor->name, to_string(tensor->shape), bytes);
    const size_t end = at + bytes;
    header[tensor->name] = {
        {"dtype", kSpellings[rank_of(tensor->dtype)].name}, {"shape", tensor->shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = json_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  CHECK(text.size() <= kMaxHeaderBytes, "{} tensors need a header of {} bytes", order.size(), text.size());
  return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::string_view text = header_text(path, file_.view());
  std::vector<Extent> extents;
  const json header = parse_header(path, text);
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadata) {
      metadata_ = parse_metadata(path, entry);
    } else {
      extents.push_back(parse_entry(path, name, entry));
    }
  }
  tensors_ = lay_out(path, std::move(extents), file_.view().substr(sizeof(uint64_t) + text.size()));
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void write_safetensors(const std::string& path, std::span<const TensorParts> tensors,
                       std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  const std::vector<const TensorParts*> order = in_file_order(tensors);
  const std::string header = render_header(order, metadata);
  const uint64_t length = header.size();
  std::vector<ByteSource> parts = {std::as_bytes(std::span(&length, 1)), std::string_view(header)};
  for (const TensorParts* tensor : order) parts.insert(parts.end(), tensor->parts.begin(), tensor->parts.end());
  write_parts_atomic(path, parts);
}

void write_safetensors(const std::string& path, std::span<const TensorView> tensors,
                       std::map<std::string, std::string> metadata) {
  std::vector<TensorParts> whole;
  for (const TensorView& tensor : tensors) whole.push_back({tensor.name, tensor.dtype, tensor.shape, {tensor.bytes}});
  write_safetensors(path, whole, std::move(metadata));
}

}  // namespace centavo
