#include <algorithm>
#include <charconv>

#include "base/nearest.h"
#include "program/text.h"

namespace centavo {
namespace {

template <class... Args>
[[noreturn]] void fail(int line, fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format("program line {}: {}", line, fmt::format(format, std::forward<Args>(args)...)));
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// Splits at `separator`, trimming each piece; no pieces from an empty text.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  text = trim(text);
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    pieces.push_back(trim(text.substr(0, end)));
    if (end == text.size()) break;
    text = text.substr(end + 1);
    if (trim(text).empty()) pieces.emplace_back();
  }
  return pieces;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> pieces = split(text, ' ');
  std::erase_if(pieces, [](std::string_view piece) { return piece.empty(); });
  return pieces;
}

int64_t whole_number(int line, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) fail(line, "'{}' is not a whole number", text);
  return value;
}

bool is_name(std::string_view text) {
  return !text.empty() && text != "_" && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

template <class E>
bool parse_enum(std::string_view text, int count, E& value) {
  for (int i = 0; i < count; ++i) {
    if (name_of(static_cast<E>(i)) == text) {
      value = static_cast<E>(i);
      return true;
    }
  }
  return false;
}

Attribute parse_attribute(std::string_view text) {
  int64_t whole = 0;
  const char* last = text.data() + text.size();
  if (const auto r = std::from_chars(text.data(), last, whole); r.ec == std::errc() && r.ptr == last) return whole;
  double real = 0;
  if (const auto r = std::from_chars(text.data(), last, real); r.ec == std::errc() && r.ptr == last) return real;
  return std::string(text);
}

class Parser {
 public:
  Program run(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      ++line_;
      parse_line(trim(text.substr(0, std::min(text.substr(0, end).find('#'), end))));
      text = text.substr(std::min(end + 1, text.size()));
    }
    if (!versioned_) fail(std::max(line_, 1), "the text does not begin with 'centavo 1'");
    if (program_.step.empty()) fail(line_, "the text has no 'step' line; end it with 'step SECTION …'");
    return std::move(program_);
  }

 private:
  void parse_line(std::string_view line) {
    if (line.empty()) return;
    const size_t end = std::min(line.find(' '), line.size());
    const std::string_view head = line.substr(0, end);
    const std::string_view rest = trim(line.substr(end));
    if (!versioned_) return parse_version(head, rest);
    if (line.front() == '%') return parse_op(line);
    if (head == "ranks") return parse_ranks(rest);
    if (head == "arena") return parse_arena(rest);
    if (head == "buffer") return parse_buffer(rest);
    if (head == "section") return parse_section(rest);
    if (head == "step") return parse_step(rest);
    fail(line_, "'{}' begins no line{}", head,
         did_you_mean(head, {"ranks", "arena", "buffer", "section", "step", "centavo"}));
  }

  void parse_version(std::string_view head, std::string_view rest) {
    if (head != "centavo" || rest != "1") fail(line_, "the text must begin with 'centavo 1', not '{} {}'", head, rest);
    versioned_ = true;
  }

  void parse_ranks(std::string_view rest) {
    program_.ranks = whole_number(line_, rest);
    if (program_.ranks < 1) fail(line_, "ranks must be at least 1");
  }

  void parse_arena(std::string_view rest) {
    const auto parts = words(rest);
    Home home = Home::device;
    if (parts.size() != 2 || !parse_enum(parts[0], 2, home))
      fail(line_, "write 'arena device BYTES' or 'arena host BYTES'");
    program_.arena_bytes[home] = whole_number(line_, parts[1]);
  }

  void parse_buffer(std::string_view rest) {
    const size_t open = rest.find('[');
    const size_t close = rest.find(']');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
      fail(line_, "write 'buffer NAME DTYPE[DIMS] KIND FLAGS', the dims in brackets");
    }
    const auto front = words(rest.substr(0, open));
    if (front.size() != 2 || !is_name(front[0])) fail(line_, "write 'buffer NAME DTYPE[DIMS] KIND FLAGS'");
    Buffer buffer;
    buffer.name = std::string(front[0]);
    if (program_.find(buffer.name) != kNone) fail(line_, "buffer {} is declared twice", buffer.name);
    if (!parse_dtype(front[1], buffer.dtype)) fail(line_, "'{}' is no dtype", front[1]);
    for (const auto dim : split(rest.substr(open + 1, close - open - 1), ',')) {
      buffer.shape.push_back(whole_number(line_, dim));
      if (buffer.shape.back() < 1) fail(line_, "buffer {} has a dimension below 1", buffer.name);
    }
    const auto flags = words(rest.substr(close + 1));
    if (flags.empty() || !parse_enum(flags[0], 9, buffer.kind)) {
      fail(line_, "buffer {} needs a kind after its dims, such as activation", buffer.name);
    }
    for (size_t i = 1; i < flags.size(); ++i) parse_buffer_flag(buffer, flags[i]);
    program_.add(std::move(buffer));
  }

  void parse_buffer_flag(Buffer& buffer, std::string_view flag) {
    const size_t equals = std::min(flag.find('='), flag.size());
    const std::string_view key = flag.substr(0, equals);
    const std::string_view value = flag.substr(std::min(equals + 1, flag.size()));
    if (flag == "host") {
      buffer.home = Home::host;
    } else if (flag == "persistent") {
      buffer.persistent = true;
    } else if (flag == "trainable") {
      buffer.trainable = true;
    } else if (flag == "borrowed") {
      buffer.borrowed = true;
    } else if (key == "at") {
      buffer.offset_bytes = whole_number(line_, value);
    } else if (key == "ring") {
      const auto [counter, slots] = pair(value, '/');
      buffer.ring = Ring{known_buffer(counter), whole_number(line_, slots)};
      if (buffer.ring->slots < 1) fail(line_, "a ring needs at least one slot");
    } else if (key == "view") {
      const auto [parent, offset] = pair(value, '+');
      buffer.view = View{known_buffer(parent), whole_number(line_, offset)};
    } else if (key == "layout") {
      buffer.layout = known_buffer(value);
    } else if (key == "shard") {
      const auto [axis, cut] = pair(value, ':');
      const auto [index, parts] = pair(cut, '/');
      buffer.shard = Shard{std::string(axis), whole_number(line_, index), whole_number(line_, parts)};
    } else {
      fail(line_, "'{}' is no buffer flag{}", flag,
           did_you_mean(key, {"host", "persistent", "trainable", "borrowed", "ring", "view", "layout", "shard", "at"}));
    }
  }

  std::pair<std::string_view, std::string_view> pair(std::string_view text, char separator) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) fail(line_, "'{}' lacks '{}'", text, separator);
    return {text.substr(0, at), text.substr(at + 1)};
  }

  BufferId known_buffer(std::string_view name) {
    const BufferId id = program_.find(name);
    if (id != kNone) return id;
    std::vector<std::string> names;
    for (const Buffer& buffer : program_.buffers) names.push_back(buffer.name);
    fail(line_, "buffer {} is not declared above{}", name, did_you_mean(name, names));
  }

  void parse_section(std::string_view rest) {
    if (!is_name(rest)) fail(line_, "write 'section NAME'");
    if (program_.find_section(rest) != nullptr) fail(line_, "section {} stands twice", rest);
    program_.sections.push_back({std::string(rest), {}});
  }

  void parse_step(std::string_view rest) {
    for (const auto word : words(rest)) {
      const size_t star = std::min(word.find('*'), word.size());
      Call call{std::string(word.substr(0, star)), 1};
      if (star != word.size()) call.times = whole_number(line_, word.substr(star + 1));
      if (program_.find_section(call.section) == nullptr) fail(line_, "there is no section {} above", call.section);
      if (call.times < 1) fail(line_, "section {} must be called at least once", call.section);
      program_.step.push_back(std::move(call));
    }
    if (program_.step.empty()) fail(line_, "the step calls no section");
  }

  void parse_op(std::string_view line) {
    if (program_.sections.empty()) fail(line_, "an op stands before the first 'section NAME'");
    const size_t bar = std::min(line.find('|'), line.size());
    const std::string_view text = trim(line.substr(0, bar));
    const size_t equals = text.find(" = ");
    const size_t open = text.find('(');
    const size_t close = text.find(')');
    const size_t space = text.find(' ');
    if (equals == std::string_view::npos || open == std::string_view::npos || close == std::string_view::npos ||
        close < open || open < equals || space >= equals) {
      fail(line_, "write '%ID OUTPUTS = KIND(INPUTS) KEY=VALUE'");
    }
    Op op;
    op.id = op.logical = small_number(text.substr(1, space - 1));
    op.kind = std::string(trim(text.substr(equals + 3, open - equals - 3)));
    for (const auto name : split(text.substr(space, equals - space), ',')) op.outputs.push_back(parse_output(name));
    for (const auto name : split(text.substr(open + 1, close - open - 1), ',')) {
      op.inputs.push_back(name == "_" ? kNone : known_buffer(name));
    }
    for (const auto word : words(text.substr(close + 1))) {
      const auto [key, value] = pair(word, '=');
      op.attributes[std::string(key)] = parse_attribute(value);
    }
    for (const auto word : words(line.substr(std::min(bar + 1, line.size())))) parse_whereabouts(op, word);
    append(std::move(op));
  }

  Output parse_output(std::string_view name) {
    if (name == "_") return {};
    const bool adds = !name.empty() && name.front() == '+';
    return {known_buffer(adds ? name.substr(1) : name), adds ? Bind::add : Bind::write};
  }

  void parse_whereabouts(Op& op, std::string_view word) {
    if (parse_enum(word, 3, op.stage) || parse_enum(word, kLanes, op.lane)) return;
    const size_t equals = std::min(word.find('='), word.size());
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(std::min(equals + 1, word.size()));
    if (key == "layer") {
      op.layer = small_number(value);
    } else if (key == "of") {
      op.logical = op_id(value);
    } else if (key == "ws") {
      op.workspace = known_buffer(value);
    } else if (key == "after") {
      for (const auto id : split(value, ',')) op.after.push_back(op_id(id));
    } else {
      fail(line_, "'{}' says nothing about where an op runs{}", word,
           did_you_mean(key, {"layer", "of", "ws", "after", "forward", "backward", "update", "compute", "gather",
                              "reduce", "copy"}));
    }
  }

  int32_t small_number(std::string_view text) {
    const int64_t value = whole_number(line_, text);
    if (value < -1 || value >= INT32_MAX) fail(line_, "{} is out of range", value);
    return static_cast<int32_t>(value);
  }

  int32_t op_id(std::string_view text) {
    if (text.empty() || text.front() != '%') fail(line_, "'{}' is no op id; write %ID", text);
    return small_number(text.substr(1));
  }

  void append(Op op) {
    Section& section = program_.sections.back();
    if (std::ranges::find(section.ops, op.id, &Op::id) != section.ops.end()) {
      fail(line_, "op %{} stands twice in section {}", op.id, section.name);
    }
    section.ops.push_back(std::move(op));
  }

  Program program_;
  bool versioned_ = false;
  int line_ = 0;
};

}  // namespace

Program parse(std::string_view text) { return Parser().run(text); }

}  // namespace centavo
