#include "tests/support/op_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/cpu/guard.h"
#include "ops/all.h"
#include "passes/differentiate.h"
#include "passes/place.h"
#include "program/bound_as.h"
#include "program/verify.h"

namespace centavo::testing {
namespace {

const OpTable& ops() {
  static const OpTable table = all_ops();
  return table;
}

template <class F>
void visit_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i32: return f(TypeTag<int32_t>{});
    case DType::i64: return f(TypeTag<int64_t>{});
    case DType::u8: return f(TypeTag<uint8_t>{});
    default: return visit_float(dtype, f);
  }
}

double to_double(auto value) {
  if constexpr (std::is_arithmetic_v<decltype(value)>) {
    return static_cast<double>(value);
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

template <class T>
T from_double(double value) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<T>(value);
  } else {
    return T(static_cast<float>(value));
  }
}

bool is_input(const Buffer& b) {
  return !b.view && (b.kind == BufferKind::parameter || b.kind == BufferKind::stream_in) && is_float(b.dtype);
}

// The buffers that ops without a forward of their own write: losses need no seed.
bool is_loss(const Program& program, BufferId id) {
  for (const Op& op : program.sections[0].ops) {
    for (const Output& output : op.outputs) {
      if (output.buffer == id && ops().at(op.kind).backward_replaces_forward) return true;
    }
  }
  return false;
}

}  // namespace

std::vector<double> random_values(const std::string& name, int64_t count, double scale) {
  const RandomStream stream{42, stream_of(name.data(), name.size())};
  std::vector<double> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = scale * stream.normal(static_cast<uint64_t>(i));
  return values;
}

std::vector<double> rounded(const std::vector<double>& values, DType dtype) {
  std::vector<double> result;
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (const double value : values) result.push_back(to_double(from_double<T>(value)));
  });
  return result;
}

Program build(const Forward& forward, DType dtype) {
  Builder b(ops(), "micro", dtype);
  forward(b);
  Program& program = b.program;
  const std::vector<bool> statistics = roots_bound_as(program, ops(), {Type::statistic});
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const auto root = static_cast<size_t>(program.root(static_cast<BufferId>(i)));
    if (statistics[root]) program.buffers[i].dtype = accumulator_of(dtype);
  }
  return std::move(program);
}

Tensors random_inputs(const Program& program, double scale) {
  Tensors inputs;
  for (const Buffer& b : program.buffers) {
    if (is_input(b)) inputs[b.name] = random_values(b.name, b.elements(), scale);
  }
  return inputs;
}

void set_tensor(Machine& machine, const std::string& name, const std::vector<double>& values) {
  const Buffer& buffer = machine.program().buffer(machine.program().find(name));
  visit_any(buffer.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> typed;
    for (const double value : values) typed.push_back(from_double<T>(value));
    machine.write(name, std::as_bytes(std::span<const T>(typed)));
  });
}

std::vector<double> get_tensor(const Machine& machine, const std::string& name, int64_t slot) {
  const Buffer& buffer = machine.program().buffer(machine.program().find(name));
  std::vector<double> values;
  visit_any(buffer.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> typed(static_cast<size_t>(buffer.elements()));
    machine.read(name, std::as_writable_bytes(std::span<T>(typed)), slot);
    for (const T value : typed) values.push_back(to_double(value));
  });
  return values;
}

Tensors run_step(Program program, const Tensors& inputs, int threads) {
  program = add_cpu_workspaces(std::move(program), ops(), {threads});
  program = place(std::move(program), {.red_zone_bytes = kRedZoneBytes, .borrow = {}, .share_addresses = false});
  verify(program, ops());
  CpuMachine machine(std::move(program), ops(), {.threads = threads, .debug = true});
  for (const auto& [name, values] : inputs) {
    if (machine.program().find(name) != kNone) set_tensor(machine, name, values);
  }
  machine.step();
  Tensors results;
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::workspace) results[b.name] = get_tensor(machine, b.name);
  }
  return results;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double bound, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  double largest = 0;
  for (const double value : b) largest = std::max(largest, std::fabs(value));
  // NaN on one side, or infinities that differ, are infinitely far.
  const auto distance = [&](size_t i) {
    const double d = a[i] == b[i] ? 0.0 : std::fabs(a[i] - b[i]);
    return std::isnan(d) ? INFINITY : d;
  };
  size_t worst = 0;
  for (size_t i = 1; i < a.size(); ++i) {
    if (distance(i) > distance(worst)) worst = i;
  }
  if (a.empty()) return;
  EXPECT_TRUE(distance(worst) <= bound * largest)
      << what << "[" << worst << "] = " << a[worst] << ", expected " << b[worst] << ": off by "
      << distance(worst) / largest << " of the largest, allowed " << bound;
}

void expect_gradients(const Forward& forward, const Tensors& inputs, const std::vector<std::string>& outputs,
                      double tolerance) {
  const Program plain = build(forward, DType::f64);
  std::vector<std::string> seeds;
  for (const std::string& name : outputs) {
    if (!is_loss(plain, plain.find(name))) seeds.push_back(name);
  }
  // r of each output; a loss counts once.
  const auto weight_of = [&](const std::string& name) {
    const int64_t count = plain.buffer(plain.find(name)).elements();
    const bool seeded = std::ranges::find(seeds, name) != seeds.end();
    return seeded ? random_values("d." + name, count) : std::vector<double>(static_cast<size_t>(count), 1.0);
  };
  const auto objective = [&](const Tensors& in) {
    const Tensors out = run_step(plain, in);
    double total = 0;
    for (const std::string& name : outputs) {
      const std::vector<double> r = weight_of(name);
      for (size_t i = 0; i < r.size(); ++i) total += r[i] * out.at(name)[i];
    }
    return total;
  };

  Tensors with_seeds = inputs;
  for (const std::string& name : seeds) with_seeds["d." + name] = weight_of(name);
  const Tensors gradients = run_step(differentiate(plain, ops(), "micro", seeds), with_seeds);
  for (const Buffer& b : plain.buffers) {
    if (!b.trainable) continue;
    ASSERT_TRUE(gradients.contains(b.name + ".grad")) << b.name << " got no gradient";
    std::vector<double> numeric;
    for (size_t i = 0; i < inputs.at(b.name).size(); ++i) {
      constexpr double kStep = 1e-5;
      Tensors up = inputs;
      Tensors down = inputs;
      up[b.name][i] += kStep;
      down[b.name][i] -= kStep;
      numeric.push_back((objective(up) - objective(down)) / (2 * kStep));
    }
    numeric.push_back(1.0);  // the tolerance is absolute below 1
    std::vector<double> analytic = gradients.at(b.name + ".grad");
    analytic.push_back(1.0);
    expect_near(analytic, numeric, tolerance, "gradient of " + b.name);
  }
}

void expect_close_to_f64(const Forward& forward, const Tensors& inputs, DType dtype,
                         const std::vector<std::string>& names, double bound) {
  const Program program = build(forward, dtype);
  Tensors rounded = inputs;
  for (auto& [name, values] : rounded) {
    const BufferId id = program.find(name);
    if (id != kNone && is_float(program.buffer(id).dtype)) values = testing::rounded(values, program.buffer(id).dtype);
  }
  const Tensors exact = run_step(build(forward, DType::f64), rounded);
  const Tensors result = run_step(program, rounded);
  for (const std::string& name : names) {
    expect_near(result.at(name), exact.at(name), bound, fmt::format("{} {}", name_of(dtype), name));
  }
}

void expect_repeatable(const Forward& forward, const Tensors& inputs, DType dtype, const std::vector<int>& threads) {
  const Program program = build(forward, dtype);
  const Tensors first = run_step(program, inputs, threads.front());
  for (const int count : threads) {
    const Tensors again = run_step(program, inputs, count);
    for (const auto& [name, values] : first) {
      const auto& other = again.at(name);
      EXPECT_EQ(std::memcmp(values.data(), other.data(), values.size() * sizeof(double)), 0)
          << name << " differs with " << count << " threads";
    }
  }
}

void expect_shape_error(const Forward& forward, const std::string& message) {
  try {
    build(forward);
    FAIL() << "built without an error; expected: " << message;
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
  }
}

}  // namespace centavo::testing
