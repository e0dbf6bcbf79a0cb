#include "train/checkpoint_manifest.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/errors.h"
#include "base/json.h"
#include "base/seal.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 2;
constexpr int64_t kMostWriters = 99'999;
constexpr size_t kMostDimensions = 8;
constexpr size_t kLongestName = 255;

// Reads the fields of one manifest; every defect names the file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  Manifest read(const ordered_json& json) const {
    require_format(json);
    Manifest manifest = {.step = number(json, "step", INT64_MAX),
                         .program_hash = hash(json, "program"),
                         .data_hash = hash(json, "data"),
                         .writers = number(json, "writers", kMostWriters),
                         .files = {},
                         .tensors = {}};
    if (manifest.writers == 0) reject("it has no writers");
    manifest.files = files(field(json, "files"), manifest.writers);
    manifest.tensors = tensors(field(json, "tensors"), manifest.writers);
    return manifest;
  }

 private:
  template <class... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    damaged_checkpoint_file(path_, fmt::format(format, std::forward<Args>(args)...));
  }

  void require_format(const ordered_json& json) const {
    const int64_t format = number(json, "format", INT64_MAX);
    if (format == kFormat) return;
    user_error("checkpoint file {} has format {}, this centavo reads {}: use the centavo that wrote it", path_, format,
               kFormat);
  }

  const ordered_json& field(const ordered_json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) reject("it has no field {}", key);
    return object.at(key);
  }

  int64_t whole(const ordered_json& value, const std::string& what, int64_t most) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(most)) {
      reject("its {} is no whole number from 0 to {}", what, most);
    }
    return value.get<int64_t>();
  }
  int64_t number(const ordered_json& object, const char* key, int64_t most) const {
    return whole(field(object, key), key, most);
  }

  std::string text(const ordered_json& object, const char* key) const {
    const ordered_json& value = field(object, key);
    if (!value.is_string()) reject("its {} is no text", key);
    return value.get<std::string>();
  }
  uint64_t hash(const ordered_json& object, const char* key) const {
    const std::optional<uint64_t> value = parse_hex64(text(object, key));
    if (!value) reject("its {} is no hash", key);
    return *value;
  }

  std::map<std::string, FileRecord> files(const ordered_json& object, int64_t writers) const {
    if (!object.is_object()) reject("its files are no table");
    const std::vector<std::string> names = checkpoint_file_names(writers);
    const std::set<std::string> known(names.begin(), names.end());
    for (const auto& [name, record] : object.items()) {
      if (!known.contains(name)) reject("it lists the file '{}', which no checkpoint of {} writers has", name, writers);
    }
    std::map<std::string, FileRecord> records;
    for (const std::string& name : names) {
      const ordered_json& record = field(object, name.c_str());
      records[name] = {number(record, "size", INT64_MAX), hash(record, "xxh3")};
    }
    return records;
  }

  std::vector<TensorPieces> tensors(const ordered_json& list, int64_t writers) const {
    if (!list.is_array()) reject("its tensors are no list");
    std::vector<TensorPieces> all;
    std::set<std::string> names;
    for (const ordered_json& entry : list) {
      all.push_back(tensor(entry, writers));
      if (!names.insert(all.back().name).second) reject("tensor {} occurs twice", all.back().name);
    }
    return all;
  }

  TensorPieces tensor(const ordered_json& entry, int64_t writers) const {
    TensorPieces t;
    t.name = text(entry, "name");
    if (t.name.empty() || t.name.size() > kLongestName || t.name.find('@') != t.name.npos) {
      reject("no tensor can be called '{}'", t.name.substr(0, kLongestName));
    }
    const std::string dtype = text(entry, "dtype");
    if (!parse_dtype(dtype, t.dtype)) reject("tensor {} has the unknown dtype {}", t.name, dtype);
    t.shape = shape(field(entry, "shape"), t.name);
    t.pieces = pieces(field(entry, "pieces"), t, writers);
    return t;
  }

  Shape shape(const ordered_json& list, const std::string& name) const {
    if (!list.is_array() || list.size() > kMostDimensions) reject("the shape of {} is no list of sizes", name);
    Shape sizes;
    int64_t elements = 1;
    for (const ordered_json& size : list) {
      sizes.push_back(whole(size, "shape of " + name, kMostElements));
      if (sizes.back() == 0) reject("tensor {} is empty", name);
      if (elements > kMostElements / sizes.back()) reject("tensor {} is larger than any memory", name);
      elements *= sizes.back();
    }
    return sizes;
  }

  std::vector<Piece> pieces(const ordered_json& list, const TensorPieces& t, int64_t writers) const {
    if (!list.is_array()) reject("the pieces of {} are no list", t.name);
    const int64_t elements = element_count(t.shape);
    std::vector<Piece> all;
    int64_t at = 0;
    for (const ordered_json& entry : list) {
      if (!entry.is_array() || entry.size() != 3) reject("a piece of {} is no list of three numbers", t.name);
      const Piece piece = {whole(entry[0], "writer of " + t.name, writers - 1),
                           whole(entry[1], "pieces of " + t.name, elements),
                           whole(entry[2], "pieces of " + t.name, elements)};
      if (piece.begin > at) reject("no piece holds {}[{}]", t.name, at);
      if (piece.begin < at) reject("two pieces hold {}[{}]", t.name, piece.begin);
      if (piece.end <= piece.begin) reject("a piece of {} ends at {}, where it begins", t.name, piece.end);
      at = piece.end;
      all.push_back(piece);
    }
    if (at != elements) reject("no piece holds {}[{}]", t.name, at);
    return all;
  }

  const std::string& path_;
};

std::string print_tensor(const TensorPieces& tensor) {
  ordered_json json = {{"name", tensor.name}, {"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape}};
  json["pieces"] = ordered_json::array();
  for (const Piece& piece : tensor.pieces) json["pieces"].push_back({piece.writer, piece.begin, piece.end});
  return json_text(json);
}

}  // namespace

std::string state_file(int64_t writer, int64_t writers) {
  return fmt::format("state-{:05}-of-{:05}.safetensors", writer, writers);
}

std::vector<std::string> checkpoint_file_names(int64_t writers) {
  std::vector<std::string> names = {"config.toml", "program.txt"};
  for (int64_t writer = 0; writer < writers; ++writer) names.push_back(state_file(writer, writers));
  return names;
}

// A line a tensor: there are thousands.
std::string print_manifest(const Manifest& manifest) {
  ordered_json json = {{"format", kFormat},
                       {"step", manifest.step},
                       {"program", hex64(manifest.program_hash)},
                       {"data", hex64(manifest.data_hash)},
                       {"writers", manifest.writers}};
  for (const auto& [name, record] : manifest.files) {
    json["files"][name] = {{"size", record.size}, {"xxh3", hex64(record.hash)}};
  }
  std::string text = json_text(json, 2);
  text.resize(text.size() - 2);  // "\n}"
  text += ",\n  \"tensors\": [";
  for (const TensorPieces& tensor : manifest.tensors) {
    text += (text.ends_with('[') ? "\n    " : ",\n    ") + print_tensor(tensor);
  }
  return seal(text + "\n  ]\n}\n");
}

Manifest parse_manifest(const std::string& path, const std::string& sealed) {
  const std::optional<std::string> text = unseal(sealed);
  if (!text) damaged_checkpoint_file(path, "it does not match its own hash");
  ordered_json json;
  try {
    json = parse_ordered_json(*text);
  } catch (const ordered_json::exception& error) {
    damaged_checkpoint_file(path, fmt::format("its fields cannot be read ({})", error.what()));
  }
  return Reader(path).read(json);
}

void damaged_checkpoint_file(const std::string& path, const std::string& defect) {
  user_error("checkpoint file {} is damaged: {}; resume from another checkpoint", path, defect);
}

}  // namespace centavo
