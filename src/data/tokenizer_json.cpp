#include <simdjson.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/errors.h"
#include "base/files.h"
#include "data/byte_letters.h"
#include "data/tokenizer.h"

namespace centavo {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr size_t kLargestFile = size_t{256} << 20;
constexpr size_t kShownBytes = 60;

constexpr std::string_view kByteLevel =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
constexpr std::string_view kAddedToken = R"(
    {{"id": {}, "content": "{}", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}})";
constexpr std::string_view kFile = R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [{added}],
  "normalizer": null,
  "pre_tokenizer": {byte_level},
  "post_processor": null,
  "decoder": {byte_level},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {{{vocab}
    }},
    "merges": [{merges}]
  }}
}}
)";

template <class... Args>
[[noreturn]] void reject(const std::string& path, fmt::format_string<Args...> format, Args&&... args) {
  user_error("tokenizer file {}: {}; give a byte-level BPE as centavo writes it", path,
             fmt::format(format, std::forward<Args>(args)...));
}

// At most kShownBytes of it, whole characters, no line ends.
std::string shown(std::string_view text) {
  size_t size = std::min(text.size(), kShownBytes);
  while (size > 0 && size < text.size() && (static_cast<uint8_t>(text[size]) & 0xC0) == 0x80) --size;
  std::string cut(text.substr(0, size));
  const auto is_control = [](char c) { return static_cast<uint8_t>(c) < ' ' || c == 0x7F; };
  std::replace_if(cut.begin(), cut.end(), is_control, '?');
  return size < text.size() ? cut + "..." : cut;
}

std::string shown(const element& value) { return shown(std::string_view(simdjson::to_string(value))); }

// What a field may say, as JSON; where nothing is listed it is read elsewhere.
struct Field {
  std::string_view key;
  std::vector<std::string_view> allowed;
};

// A value with its name, such as model.vocab. Lives no longer than the parser.
class Node {
 public:
  Node(const std::string& path, std::string name, element value) : path_(path), name_(std::move(name)), value_(value) {}

  object as_object() const { return as<object>("an object"); }
  array as_array() const { return as<array>("a list"); }
  std::string_view as_string() const { return as<std::string_view>("a string"); }
  int64_t as_integer() const { return as<int64_t>("a whole number"); }

  std::optional<Node> find(std::string_view key) const;
  Node field(std::string_view key) const;
  // Every field is listed, at most once in the file, and says what it may.
  void check(const std::vector<Field>& fields) const;
  template <class... Args>
  [[noreturn]] void reject_it(fmt::format_string<Args...> format, Args&&... args) const {
    reject(path_, "{} {}", name_.empty() ? "it" : name_, fmt::format(format, std::forward<Args>(args)...));
  }
  const std::string& path() const { return path_; }

 private:
  template <class T>
  T as(std::string_view kind) const {
    T result;
    if (value_.get(result) != simdjson::SUCCESS) reject_it("is {}, not {}", shown(value_), kind);
    return result;
  }
  std::string name_of(std::string_view key) const { return name_.empty() ? shown(key) : name_ + "." + shown(key); }

  const std::string& path_;
  std::string name_;
  element value_;
};

std::optional<Node> Node::find(std::string_view key) const {
  element value;
  if (as_object().at_key(key).get(value) != simdjson::SUCCESS) return std::nullopt;
  return Node(path_, name_of(key), value);
}

Node Node::field(std::string_view key) const {
  std::optional<Node> found = find(key);
  if (!found) reject_it("has no {}", key);
  return *found;
}

void Node::check(const std::vector<Field>& fields) const {
  std::set<std::string_view> seen;
  for (const auto [key, value] : as_object()) {
    const auto same_key = [&, name = key](const Field& field) { return field.key == name; };
    const auto known = std::find_if(fields.begin(), fields.end(), same_key);
    if (known == fields.end()) reject(path_, "{} is {}, which centavo does not know", name_of(key), shown(value));
    if (!seen.insert(known->key).second) reject(path_, "{} occurs twice", name_of(key));
    if (known->allowed.empty()) continue;
    const bool fits =
        std::find(known->allowed.begin(), known->allowed.end(), simdjson::to_string(value)) != known->allowed.end();
    if (!fits) reject(path_, "{} is {}, not {}", name_of(key), shown(value), fmt::join(known->allowed, " or "));
  }
}

// ---- the parts

void check_byte_level(const Node& root) {
  const Node splitter = root.field("pre_tokenizer");
  splitter.check({{"type", {"\"ByteLevel\""}},
                  {"add_prefix_space", {"false"}},
                  {"trim_offsets", {"true", "false"}},
                  {"use_regex", {"true"}}});
  for (const char* key : {"type", "add_prefix_space"}) splitter.field(key);
  const Node decoder = root.field("decoder");
  // What decodes is the type; the rest is there because encoder and decoder share it.
  decoder.check({{"type", {"\"ByteLevel\""}},
                 {"add_prefix_space", {"true", "false"}},
                 {"trim_offsets", {"true", "false"}},
                 {"use_regex", {"true", "false"}}});
  decoder.field("type");
}

// The id of <|endoftext|>; nothing when no token is added.
std::optional<int64_t> read_added_tokens(const Node& root) {
  const std::optional<Node> added = root.find("added_tokens");
  if (!added) return std::nullopt;
  const array tokens = added->as_array();
  if (tokens.size() == 0) return std::nullopt;
  if (tokens.size() > 1) added->reject_it("has {} tokens, not only {}", tokens.size(), kEndOfText);
  const Node token(root.path(), "added_tokens[0]", *tokens.begin());
  const std::string content = fmt::format("\"{}\"", kEndOfText);
  token.check({{"id", {}},
               {"content", {content}},
               {"single_word", {"false"}},
               {"lstrip", {"false"}},
               {"rstrip", {"false"}},
               {"normalized", {"false"}},
               {"special", {"true"}}});
  for (const char* key : {"content", "single_word", "lstrip", "rstrip", "normalized", "special"}) token.field(key);
  return token.field("id").as_integer();
}

using Ids = std::unordered_map<std::string, int32_t>;  // by the tokens' bytes

// The vocabulary: ids 0 to its size less one, each once.
Ids read_vocabulary(const Node& vocab) {
  const object entries = vocab.as_object();
  int64_t size = 0;  // the library's own counts to 2^24
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) ++size;
  if (size >= kLargestVocabulary) vocab.reject_it("has {} tokens, more than {}", size, kLargestVocabulary - 1);
  Ids ids;
  ids.reserve(static_cast<size_t>(size));
  std::vector<bool> taken(static_cast<size_t>(size));
  for (const auto [letters, value] : entries) {
    int64_t id = 0;
    if (value.get(id) != simdjson::SUCCESS || id < 0 || id >= size) {
      vocab.reject_it("gives \"{}\" the id {}, not one of its {} ids from 0", shown(letters), shown(value), size);
    }
    if (taken[static_cast<size_t>(id)]) vocab.reject_it("gives \"{}\" the id {} of another token", shown(letters), id);
    taken[static_cast<size_t>(id)] = true;
    std::optional<std::string> bytes = bytes_of_letters(letters);
    if (!bytes || bytes->empty()) vocab.reject_it("has \"{}\", which does not spell bytes", shown(letters));
    if (!ids.emplace(*std::move(bytes), static_cast<int32_t>(id)).second) {
      vocab.reject_it("has \"{}\" twice", shown(letters));
    }
  }
  return ids;
}

void check_bytes(const Node& vocab, const Ids& ids) {
  for (int byte = 0; byte < kByteVocabulary; ++byte) {
    const std::string token(1, static_cast<char>(byte));
    const auto found = ids.find(token);
    if (found == ids.end()) vocab.reject_it("has no token for the byte {}", byte);
    if (found->second != byte) vocab.reject_it("gives the byte {} the id {}, not {}", byte, found->second, byte);
  }
}

// The two parts as letters: "a b" or ["a", "b"].
std::optional<std::pair<std::string_view, std::string_view>> parts_of(const element& merge) {
  std::string_view text;
  if (merge.get(text) == simdjson::SUCCESS) {
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  array pair;
  if (merge.get(pair) != simdjson::SUCCESS || pair.size() != 2) return std::nullopt;
  std::string_view left;
  std::string_view right;
  const bool strings = pair.at(0).get(left) == simdjson::SUCCESS && pair.at(1).get(right) == simdjson::SUCCESS;
  if (!strings) return std::nullopt;
  return std::pair(left, right);
}

const Ids::value_type* find_token(const Ids& ids, std::string_view letters) {
  const std::optional<std::string> bytes = bytes_of_letters(letters);
  const auto found = bytes ? ids.find(*bytes) : ids.end();
  return found == ids.end() ? nullptr : &*found;
}

// The merge that makes the token `id`.
Tokenizer::Merge read_merge(const Node& merges, const Ids& ids, const element& value, int32_t id) {
  const auto refuse = [&](std::string_view why) {
    merges.reject_it("has {} at {}, {}", shown(value), id - kByteVocabulary, why);
  };
  const auto parts = parts_of(value);
  if (!parts) refuse("which is not two tokens");
  const Ids::value_type* left = find_token(ids, parts->first);
  const Ids::value_type* right = find_token(ids, parts->second);
  if (left == nullptr || right == nullptr) refuse("of a token that model.vocab does not have");
  if (left->second >= id || right->second >= id) refuse("whose parts no merge before it makes");
  const auto joined = ids.find(left->first + right->first);
  if (joined == ids.end() || joined->second != id) refuse(fmt::format("whose token has not the id {}", id));
  return {left->second, right->second};
}

std::vector<Tokenizer::Merge> read_merges(const Node& merges, const Ids& ids) {
  std::vector<Tokenizer::Merge> read;
  auto id = static_cast<int32_t>(kByteVocabulary);
  for (const element value : merges.as_array()) read.push_back(read_merge(merges, ids, value, id++));
  return read;
}

void check_model(const Node& model) {
  model.check({{"type", {"\"BPE\""}},
               {"dropout", {"null"}},
               {"unk_token", {"null"}},
               {"continuing_subword_prefix", {"null", "\"\""}},
               {"end_of_word_suffix", {"null", "\"\""}},
               {"fuse_unk", {"false"}},
               {"byte_fallback", {"false"}},
               {"ignore_merges", {"false"}},
               {"vocab", {}},
               {"merges", {}}});
  model.field("type");
}

// <|endoftext|> has the id behind the last merge's, whether model.vocab lists it or not.
void check_counts(const Node& model, const Ids& ids, size_t merges, std::optional<int64_t> end_of_text) {
  const bool listed = end_of_text && ids.contains(std::string(kEndOfText));
  const size_t made = static_cast<size_t>(kByteVocabulary) + merges;
  if (ids.size() != made + (listed ? 1 : 0)) {
    model.reject_it("has {} tokens in vocab, but 256 bytes and {} merges{} make {}", ids.size(), merges,
                    listed ? " and <|endoftext|>" : "", made + (listed ? 1 : 0));
  }
  if (end_of_text && *end_of_text != static_cast<int64_t>(made)) {
    reject(model.path(), "added_tokens[0].id is {}, not {}, which is behind all others", *end_of_text, made);
  }
  if (listed && ids.at(std::string(kEndOfText)) != *end_of_text) {
    model.reject_it("gives {} the id {}, but added_tokens {}", kEndOfText, ids.at(std::string(kEndOfText)),
                    *end_of_text);
  }
}

Tokenizer read_root(const Node& root) {
  root.check({{"version", {"\"1.0\""}},
              {"truncation", {"null"}},
              {"padding", {"null"}},
              {"added_tokens", {}},
              {"normalizer", {"null"}},
              {"pre_tokenizer", {}},
              {"post_processor", {"null"}},
              {"decoder", {}},
              {"model", {}}});
  check_byte_level(root);
  const std::optional<int64_t> end_of_text = read_added_tokens(root);
  const Node model = root.field("model");
  check_model(model);
  const Node vocab = model.field("vocab");
  const Ids ids = read_vocabulary(vocab);
  check_bytes(vocab, ids);
  const Node merges = model.field("merges");
  check_counts(model, ids, merges.as_array().size(), end_of_text);
  return Tokenizer(read_merges(merges, ids), end_of_text ? EndOfText::last_id : EndOfText::absent);
}

}  // namespace

Tokenizer Tokenizer::read(const std::string& path) {
  const MappedFile file(path);
  if (file.view().size() > kLargestFile)
    reject(path, "it has {} bytes, more than {}", file.view().size(), kLargestFile);
  const simdjson::padded_string text(file.view());
  simdjson::dom::parser parser;
  element root;
  const simdjson::error_code error = parser.parse(text).get(root);
  if (error != simdjson::SUCCESS) reject(path, "it is not JSON ({})", simdjson::error_message(error));
  return read_root(Node(path, "", root));
}

std::string Tokenizer::json() const {
  std::vector<std::string> vocab;
  for (size_t id = 0; id < bytes_.size(); ++id) {
    vocab.push_back(fmt::format("\n      \"{}\": {}", json_letters_of(bytes_[id]), id));
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : merges_) {
    merges.push_back(
        fmt::format("\n      \"{} {}\"", json_letters_of(bytes_of(left)), json_letters_of(bytes_of(right))));
  }
  const std::string added = end_of_text_ ? fmt::format(kAddedToken, *end_of_text_, kEndOfText) : "";
  return fmt::format(kFile, fmt::arg("added", added), fmt::arg("byte_level", kByteLevel),
                     fmt::arg("vocab", fmt::join(vocab, ",")), fmt::arg("merges", fmt::join(merges, ",")));
}

}  // namespace centavo
