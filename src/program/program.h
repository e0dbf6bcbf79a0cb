// The step program: everything a training step does, as plain data.
//
// A Program is a table of buffers, a list of sections (straight-line ops in issue order) and the step: which
// sections run, how often. Passes map programs to programs; machines run placed programs. The text form is
// defined in text.h, the rules every program obeys in verify.h.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/dtype.h"

namespace centavo {

using Shape = std::vector<int64_t>;

// Beyond it sizes in bytes could overflow.
inline constexpr int64_t kMostElements = int64_t{1} << 48;

// Throws UserError beyond kMostElements.
int64_t element_count(const Shape& shape);
std::string to_string(const Shape& shape);  // "[2, 3]"

// Index into Program::buffers.
using BufferId = int32_t;
inline constexpr BufferId kNone = -1;

enum class BufferKind : uint8_t {
  parameter,
  gradient,         // of a parameter, summed over the step's micro-batches
  optimizer_state,  // moments, master weights
  activation,       // values and gradients of values; lives inside one section call
  cache,            // keys and values of earlier positions
  workspace,        // scratch of one op
  control,          // counters, seed, flags, scalars between sections
  stream_in,        // written by the host before the section that reads it
  stream_out,       // read by the host
};

enum class Home : uint8_t { device, host };

// A ring: the buffer has `slots` copies and the value of `counter` modulo `slots` picks the one an op sees.
struct Ring {
  BufferId counter = kNone;
  int64_t slots = 1;
  bool operator==(const Ring&) const = default;
};

// A window of another buffer's elements, in row-major order, starting at `offset` (in elements).
struct View {
  BufferId parent = kNone;
  int64_t offset = 0;
  bool operator==(const View&) const = default;
};

// Part `index` of `parts` even cuts along a mesh axis. The shape of a sharded buffer is the local one.
struct Shard {
  std::string axis;
  int64_t index = 0;
  int64_t parts = 1;
  bool operator==(const Shard&) const = default;
};

struct Buffer {
  std::string name;
  DType dtype = DType::f32;
  Shape shape = {};
  BufferKind kind = BufferKind::activation;
  Home home = Home::device;
  bool persistent = false;  // outlives the step; a checkpoint is exactly the persistent buffers
  bool trainable = false;   // parameters only; a frozen parameter gets no gradient and no state
  bool borrowed = false;    // its memory belongs to another program's buffer of the same name
  std::optional<Ring> ring = std::nullopt;
  std::optional<View> view = std::nullopt;
  BufferId layout = kNone;  // the unit whose tensors lie in this buffer as they lie in the unit (passes/units.h)
  std::optional<Shard> shard = std::nullopt;
  std::optional<int64_t> offset_bytes = std::nullopt;  // in its home's arena, set by `place`

  int64_t elements() const { return element_count(shape); }
  int64_t slot_bytes() const { return elements() * size_of(dtype); }
  // Index of element 0 in the uncut tensor: what random numbers are keyed by.
  int64_t first_element() const { return shard ? shard->index * elements() : 0; }
  // All ring slots, each padded to kAlignment.
  int64_t bytes() const;

  bool operator==(const Buffer&) const = default;
};

inline constexpr int64_t kAlignment = 64;
inline int64_t align_up(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

using Attribute = std::variant<int64_t, double, std::string>;

enum class Lane : uint8_t { compute, gather, reduce, copy };
enum class Stage : uint8_t { forward, backward, update };
enum class Bind : uint8_t { write, add };

inline constexpr int kLanes = 4;

struct Output {
  BufferId buffer = kNone;
  Bind bind = Bind::write;
  bool operator==(const Output&) const = default;
};

// One step of a section. Absent optional operands are kNone, trailing ones are left out. `id` is unique in its section;
// `logical` is the id of the op this one is a copy or a replay of (random numbers are keyed by it).
struct Op {
  int32_t id = 0;
  int32_t logical = 0;
  std::string kind;
  std::vector<BufferId> inputs;
  std::vector<Output> outputs;
  std::map<std::string, Attribute> attributes;
  Stage stage = Stage::forward;
  Lane lane = Lane::compute;
  int32_t layer = -1;  // -1: outside the layers
  BufferId workspace = kNone;
  std::vector<int32_t> after;  // ids of ops of other lanes that must finish first: the edges

  bool operator==(const Op&) const = default;
};

struct Section {
  std::string name;
  std::vector<Op> ops;
  bool operator==(const Section&) const = default;
};

// `times` calls of a section in a row. A call starts when the one before it has finished on every lane.
struct Call {
  std::string section;
  int64_t times = 1;
  bool operator==(const Call&) const = default;
};

struct Program {
  int64_t ranks = 1;
  std::vector<Buffer> buffers;
  std::vector<Section> sections;
  std::vector<Call> step;
  std::map<Home, int64_t> arena_bytes;  // set by `place`

  BufferId find(std::string_view name) const;  // kNone when absent
  const Buffer& buffer(BufferId id) const { return buffers[static_cast<size_t>(id)]; }
  Buffer& buffer(BufferId id) { return buffers[static_cast<size_t>(id)]; }
  const Section* find_section(std::string_view name) const;
  Section* find_section(std::string_view name);
  BufferId add(Buffer buffer);  // CHECKs that the name is new
  // The same, at place `at` of the table: what stands there and below moves on by one, and so do all references.
  void insert(BufferId at, Buffer buffer);

  // The buffer that owns the memory behind `id` and the first element of `id` in it.
  BufferId root(BufferId id, int64_t* element_offset = nullptr) const;

  int32_t next_op_id() const;  // one above every id in use

  bool operator==(const Program&) const = default;
};

std::string_view name_of(BufferKind kind);
std::string_view name_of(Home home);
std::string_view name_of(Lane lane);
std::string_view name_of(Stage stage);

}  // namespace centavo
