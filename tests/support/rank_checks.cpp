#include "tests/support/rank_checks.h"

#include <bit>
#include <stdexcept>

#include "base/between_ranks.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/cpu/guard.h"
#include "ops/all.h"
#include "ops/all_gather/all_gather.h"
#include "ops/all_reduce/all_reduce.h"
#include "ops/reduce_scatter/reduce_scatter.h"
#include "passes/place.h"
#include "program/verify.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

const OpTable& ops() {
  static const OpTable table = all_ops();
  return table;
}

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

std::byte pattern(int64_t rank, size_t message, size_t i) {
  return static_cast<std::byte>((static_cast<size_t>(rank) * 101 + message * 31 + i * 7) & 0xff);
}

// Element i of what rank `rank` brings: not representable, so that every rounding and its order show.
double value_of(DType dtype, int64_t rank, int64_t i) {
  const int64_t k = (i * 7919 + rank * 104729 + 17) % 20011 - 10005;
  return is_float(dtype) ? static_cast<double>(k) / 7.0 : static_cast<double>(k);
}

double rounded(DType dtype, double value) {
  if (!is_float(dtype)) return value;
  return visit_compute(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return convert<double>(convert<T>(static_cast<Accumulator<T>>(value)));
  });
}

// The tree as it is defined: the members padded to a power of two, halves summed, what is missing left out.
template <class A>
A tree(std::span<const double> members) {
  if (members.size() == 1) return static_cast<A>(members[0]);
  const size_t half = std::bit_ceil(members.size()) / 2;
  return tree<A>(members.first(half)) + tree<A>(members.subspan(half));
}

double tree_sum(DType dtype, std::span<const double> members) {
  if (dtype == DType::f32 || dtype == DType::bf16) return tree<float>(members);
  return tree<double>(members);  // exact for the integers here
}

double sum_in(DType dtype, double a, double b) {
  if (dtype == DType::f32 || dtype == DType::bf16) return static_cast<float>(a) + static_cast<float>(b);
  return a + b;
}

enum class Place { apart, in_place };

// One collective on one machine. `n`: elements of a part, of all_reduce elements of all.
struct Case {
  std::string kind;
  DType dtype;
  Group group;
  int64_t n;
  Bind bind = Bind::write;
  Place place = Place::apart;

  std::string text() const {
    return fmt::format("{} {} n={} ranks={} stride={}{}{}", kind, name_of(dtype), n, group.ranks, group.stride,
                       bind == Bind::add ? " add" : "", place == Place::in_place ? " in place" : "");
  }
};

class CaseRun {
 public:
  CaseRun(Communicator& communicator, const Case& c)
      : comm_(communicator), c_(c), index_(c.group.index_of(communicator.rank())) {}

  void check() {
    Builder b(ops(), "micro", c_.dtype);
    const BufferId y = c_.kind == "all_gather"       ? build_all_gather(b)
                       : c_.kind == "reduce_scatter" ? build_reduce_scatter(b)
                                                     : build_all_reduce(b);
    const std::string name = b.program.buffer(y).name;
    CpuMachine machine(placed(std::move(b.program)), ops(), {.threads = 1, .debug = true, .communicator = &comm_});
    set_inputs(machine);
    machine.step();
    compare(get_tensor(machine, name));
  }

 private:
  BufferId tensor(Builder& b, const char* name, int64_t n, std::optional<View> view = std::nullopt) const {
    return b.program.add({.name = name,
                          .dtype = c_.dtype,
                          .shape = {n},
                          .kind = BufferKind::parameter,
                          .persistent = true,
                          .view = view});
  }

  BufferId own_part(Builder& b, BufferId full) const { return tensor(b, "part", c_.n, View{full, index_ * c_.n}); }

  BufferId build_all_gather(Builder& b) const {
    const BufferId full = tensor(b, "full", c_.n * c_.group.ranks);
    const BufferId shard = c_.place == Place::in_place ? own_part(b, full) : tensor(b, "part", c_.n);
    return all_gather(b, shard, full, c_.group);
  }

  BufferId build_reduce_scatter(Builder& b) const {
    const BufferId full = tensor(b, "full", c_.n * c_.group.ranks);
    const BufferId shard = c_.place == Place::in_place ? own_part(b, full) : tensor(b, "part", c_.n);
    return reduce_scatter(b, full, Into(shard, c_.bind), c_.group);
  }

  BufferId build_all_reduce(Builder& b) const {
    const BufferId x = tensor(b, "full", c_.n);
    return all_reduce(b, x, c_.place == Place::in_place ? x : tensor(b, "y", c_.n), c_.group);
  }

  Program placed(Program program) const {
    program.ranks = comm_.ranks();
    program = add_cpu_workspaces(std::move(program), ops(), {1, &comm_});
    program = place(std::move(program), {.red_zone_bytes = kRedZoneBytes, .borrow = {}});
    verify(program, ops());
    return program;
  }

  void set(CpuMachine& machine, const char* name, int64_t first) const {
    const int64_t n = machine.program().buffer(machine.program().find(name)).elements();
    std::vector<double> values;
    for (int64_t i = 0; i < n; ++i) values.push_back(value_of(c_.dtype, comm_.rank(), first + i));
    set_tensor(machine, name, values);
  }

  void set_inputs(CpuMachine& machine) const {
    if (c_.kind == "all_gather") return set(machine, "part", 0);
    set(machine, "full", 0);
    if (c_.bind == Bind::add) set(machine, "part", kAddedFirst);
  }

  double expected(int64_t i) {
    if (c_.kind == "all_gather") return stored(c_.group.member(comm_.rank(), i / c_.n), i % c_.n);
    const int64_t at = c_.kind == "reduce_scatter" ? index_ * c_.n + i : i;
    members_.clear();
    for (int64_t k = 0; k < c_.group.ranks; ++k) members_.push_back(stored(c_.group.member(comm_.rank(), k), at));
    const double sum = tree_sum(c_.dtype, members_);
    if (c_.bind == Bind::write) return rounded(c_.dtype, sum);
    return rounded(c_.dtype, sum_in(c_.dtype, stored(comm_.rank(), kAddedFirst + i), sum));
  }

  double stored(int64_t rank, int64_t i) const { return rounded(c_.dtype, value_of(c_.dtype, rank, i)); }

  void compare(const std::vector<double>& y) {
    for (size_t i = 0; i < y.size(); ++i) {
      const double want = expected(static_cast<int64_t>(i));
      if (y[i] == want) continue;
      throw std::runtime_error(
          fmt::format("{} on rank {}: element {} is {}, not {}", c_.text(), comm_.rank(), i, y[i], want));
    }
  }

  static constexpr int64_t kAddedFirst = 1000000;

  Communicator& comm_;
  Case c_;
  int64_t index_;
  std::vector<double> members_;  // of the element compared
};

std::vector<Group> groups_of(int64_t ranks) {
  std::vector<Group> groups;
  for (int64_t members = 1; members <= ranks; ++members) {
    for (int64_t stride = 1; stride <= ranks; ++stride) {
      if (ranks % (members * stride) == 0) groups.push_back({members, stride});
    }
  }
  return groups;
}

void check_cases(Communicator& c, DType dtype, const Group& group, int64_t n) {
  const auto check = [&](const char* kind, Bind bind, Place place) {
    CaseRun(c, {kind, dtype, group, n, bind, place}).check();
  };
  check("all_reduce", Bind::write, Place::apart);
  check("all_reduce", Bind::write, Place::in_place);
  if (!is_float(dtype)) return;
  check("all_gather", Bind::write, Place::apart);
  check("all_gather", Bind::write, Place::in_place);
  check("reduce_scatter", Bind::write, Place::apart);
  check("reduce_scatter", Bind::write, Place::in_place);
  check("reduce_scatter", Bind::add, Place::apart);
}

}  // namespace

void check_agreements(Communicator& c) {
  barrier(c);
  const std::string mine(static_cast<size_t>(c.rank() * 1000), static_cast<char>('a' + c.rank()));
  const std::vector<std::string> texts = all_gather_texts(c, mine);
  require(static_cast<int64_t>(texts.size()) == c.ranks(), "a text a rank");
  double sum = 0;
  for (int64_t rank = 0; rank < c.ranks(); ++rank) {
    const std::string wanted(static_cast<size_t>(rank * 1000), static_cast<char>('a' + rank));
    require(texts[static_cast<size_t>(rank)] == wanted, fmt::format("the text of rank {}", rank));
    require(broadcast_text(c, mine, rank) == wanted, fmt::format("broadcast of rank {}", rank));
    sum += 0.1 * static_cast<double>(rank + 1);
  }
  const int64_t last = c.ranks() - 1;
  require(sum_over_ranks(c, 0.1 * static_cast<double>(c.rank() + 1)) == sum, "sum of doubles");
  require(max_over_ranks(c, -static_cast<double>(c.rank())) == 0, "maximum of doubles");
  require(std::isnan(max_over_ranks(c, c.rank() == last ? NAN : 1.0)), "a NaN is the maximum");
  const int64_t large = int64_t{1} << 55;
  require(sum_over_ranks(c, large + c.rank()) == c.ranks() * large + last * c.ranks() / 2, "sum of whole numbers");
  require(max_over_ranks(c, c.rank() - 5) == last - 5, "maximum of whole numbers");
}

void check_messages(Communicator& c) {
  const int64_t next = (c.rank() + 1) % c.ranks();
  const int64_t previous = (c.rank() + c.ranks() - 1) % c.ranks();
  std::vector<std::vector<std::byte>> out;
  std::vector<std::vector<std::byte>> in;
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const size_t size : {0, 1, 4095, 4096, 4097, 8192, 8192, 300000, 0, 3}) {
    out.emplace_back(size);
    in.emplace_back(size);
    for (size_t i = 0; i < size; ++i) out.back()[i] = pattern(c.rank(), out.size(), i);
  }
  for (size_t m = 0; m < out.size(); ++m) {
    sends.push_back({next, out[m]});
    receives.push_back({previous, in[m]});
  }
  if (c.ranks() > 1) c.exchange(sends, receives);
  for (size_t m = 0; m < in.size() && c.ranks() > 1; ++m) {
    for (size_t i = 0; i < in[m].size(); ++i) {
      if (in[m][i] == pattern(previous, m + 1, i)) continue;
      throw std::runtime_error(fmt::format("byte {} of message {}", i, m));
    }
  }
  c.exchange({}, {});
}

void check_collectives(Communicator& c) {
  for (const Group& group : groups_of(c.ranks())) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::i32, DType::i64}) {
      for (const int64_t n : {1, 3, 33, 127, 1025}) check_cases(c, dtype, group, n);
    }
  }
  // Parts beyond one chunk of 1 MiB, the last of them short.
  CaseRun(c, {"reduce_scatter", DType::f64, {c.ranks(), 1}, 140001}).check();
  CaseRun(c, {"all_reduce", DType::f32, {c.ranks(), 1}, c.ranks() * 270001 + 1}).check();
}

}  // namespace centavo::testing
