#include "train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <filesystem>

#include "base/crc32c.h"
#include "base/errors.h"
#include "base/utf8.h"

namespace centavo {
namespace {

enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xff);
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string key(uint32_t field, Wire wire) { return varint((field << 3) | static_cast<uint32_t>(wire)); }

std::string int_field(uint32_t field, int64_t value) {
  return key(field, Wire::varint) + varint(static_cast<uint64_t>(value));
}
std::string double_field(uint32_t field, double value) {
  return key(field, Wire::fixed64) + little_endian(std::bit_cast<uint64_t>(value));
}
std::string float_field(uint32_t field, float value) {
  return key(field, Wire::fixed32) + little_endian(std::bit_cast<uint32_t>(value));
}
std::string bytes_field(uint32_t field, std::string_view value) {
  return key(field, Wire::bytes) + varint(value.size()) + std::string(value);
}

uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }
std::string check(std::string_view bytes) { return little_endian(masked(crc32c(bytes))); }

std::string record(std::string_view payload) {
  const std::string length = little_endian(static_cast<uint64_t>(payload.size()));
  return length + check(length) + std::string(payload) + check(payload);
}

std::string event(double wall_time, int64_t step, const std::string& what) {
  return record(double_field(1, wall_time) + (step != 0 ? int_field(2, step) : "") + what);
}

// Summary.Value: 1 tag, 2 simple_value, 8 tensor, 9 metadata.
std::string scalar_value(const Scalar& scalar) {
  return bytes_field(1, bytes_field(1, scalar.tag) + float_field(2, static_cast<float>(scalar.value)));
}

constexpr int64_t kDtString = 7;

// TensorProto: 1 dtype, 2 shape {2 dimension {1 size}}, 8 string_val; SummaryMetadata: 1 plugin {1 name}.
std::string text_value(std::string_view tag, std::string_view text) {
  const std::string shape = bytes_field(2, int_field(1, 1));
  const std::string tensor = int_field(1, kDtString) + bytes_field(2, shape) + bytes_field(8, text);
  const std::string metadata = bytes_field(1, bytes_field(1, "text"));
  return bytes_field(1, bytes_field(1, tag) + bytes_field(8, tensor) + bytes_field(9, metadata));
}

double unix_now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string host_name() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) io_error("gethostname", "the host's name");
  return name.data();
}

std::string new_event_file(const std::string& dir, int64_t steps_done) {
  const double now = unix_now();
  const std::string name = fmt::format("{}/events.out.tfevents.{}.{}", dir, static_cast<int64_t>(now), host_name());
  std::string path = name;
  for (int again = 1; std::filesystem::exists(path); ++again) path = fmt::format("{}.{}", name, again);
  write_file_atomic(path, file_version_event(now) + session_start_event(now, steps_done + 1));
  return path;
}

// The text plugin reads Markdown; indented lines are shown as they are.
std::string as_code(std::string_view text) {
  std::string code = "    ";
  for (const char c : text) code += c == '\n' ? "\n    " : std::string(1, c);
  return code;
}

}  // namespace

std::string file_version_event(double wall_time) { return event(wall_time, 0, bytes_field(3, "brain.Event:2")); }

std::string session_start_event(double wall_time, int64_t step) {
  return event(wall_time, step, bytes_field(7, int_field(1, 1)));
}

std::string scalars_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars) {
  std::string values;
  for (const Scalar& scalar : scalars) values += scalar_value(scalar);
  return event(wall_time, step, bytes_field(5, values));
}

std::string text_event(double wall_time, int64_t step, std::string_view tag, std::string_view text) {
  return event(wall_time, step, bytes_field(5, text_value(tag, to_utf8(text))));
}

EventLog::EventLog(const std::string& dir, int64_t steps_done) : file_(new_event_file(dir, steps_done)) {}

void EventLog::step(const StepRecord& r) {
  file_.append(scalars_event(unix_now(), r.step,
                             {{"train/loss", r.loss},
                              {"train/lr", r.lr},
                              {"train/grad_norm", r.grad_norm},
                              {"train/tokens_per_second", r.tok_s}}));
}

void EventLog::validation(const ValidationRecord& r) {
  file_.append(
      scalars_event(unix_now(), r.step, {{"validation/loss", r.loss}, {"validation/bits_per_byte", r.bits_per_byte}}));
}

void EventLog::sample(const SampleRecord& r) {
  file_.append(text_event(unix_now(), r.step, "sample", as_code(r.prompt + r.text)));
}

}  // namespace centavo
