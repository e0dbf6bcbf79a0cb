#include "tests/support/cuda_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/files.h"
#include "ops/all.h"
#include "passes/differentiate.h"
#include "passes/place.h"
#include "program/verify.h"

#ifdef CENTAVO_CUDA
#include "machine/cuda/cuda_machine.h"
#endif

namespace centavo::testing {
namespace {

const OpTable& ops() {
  static const OpTable table = all_ops();
  return table;
}

// The loss ops' gradient needs no seed; every other output does.
std::vector<std::string> seeds_of(const Program& program, const std::vector<std::string>& outputs) {
  std::vector<std::string> seeds;
  for (const std::string& name : outputs) {
    const bool is_loss = std::ranges::any_of(program.sections[0].ops, [&](const Op& op) {
      return ops().at(op.kind).backward_replaces_forward &&
             std::ranges::any_of(op.outputs, [&](const Output& o) { return o.buffer == program.find(name); });
    });
    if (!is_loss) seeds.push_back(name);
  }
  return seeds;
}

struct WithSeeds {
  Program program;
  Tensors inputs;
};

WithSeeds gradient_program(const Forward& forward, Tensors inputs, DType dtype,
                           const std::vector<std::string>& outputs) {
  const Program plain = build(forward, dtype);
  const std::vector<std::string> seeds = seeds_of(plain, outputs);
  for (const std::string& name : seeds) {
    inputs["d." + name] = random_values("d." + name, plain.buffer(plain.find(name)).elements());
  }
  return {differentiate(plain, ops(), "micro", seeds), std::move(inputs)};
}

Tensors rounded_to(const Program& program, Tensors inputs) {
  for (auto& [name, values] : inputs) {
    const BufferId id = program.find(name);
    if (id != kNone && is_float(program.buffer(id).dtype)) values = rounded(values, program.buffer(id).dtype);
  }
  return inputs;
}

}  // namespace

std::string new_tuning_directory() {
  std::string directory = ::testing::TempDir() + "centavo tuning XXXXXX";
  CHECK(::mkdtemp(directory.data()) != nullptr, "{} could not be made", directory);
  return directory;
}

std::string tables_in(const std::string& tuning_directory) {
  std::string text;
  for (const auto& file : std::filesystem::directory_iterator(tuning_directory))
    text += read_file(file.path().string());
  return text;
}

#ifdef CENTAVO_CUDA

bool gpu_present() { return gpu_count() > 0; }

Tensors run_step_cuda(Program program, const Tensors& inputs, const CudaRun& how) {
  const OpTable& table = how.ops != nullptr ? *how.ops : ops();
  CudaTraits traits = open_gpu(0).traits;
  traits.deterministic = how.deterministic;
  program = add_workspaces(std::move(program), table, traits);
  program = place(std::move(program), {.red_zone_bytes = 0, .borrow = {}, .share_addresses = false});
  verify(program, table);
  CudaMachine::Options options;
  options.deterministic = how.deterministic;
  options.debug = !how.replayed;
  options.tuning_directory = how.tuning_directory;
  CudaMachine machine(std::move(program), table, options);
  const int runs = how.replayed ? 2 : 1;  // the first is launched, the second captured and replayed
  for (int run = 0; run < runs; ++run) {
    for (const auto& [name, values] : inputs) {
      if (machine.program().find(name) != kNone) set_tensor(machine, name, values);
    }
    machine.step();
  }
  Tensors results;
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::workspace) results[b.name] = get_tensor(machine, b.name);
  }
  return results;
}

#else

bool gpu_present() { return false; }

Tensors run_step_cuda(Program, const Tensors&, const CudaRun&) {
  ADD_FAILURE() << "this test was built without CUDA";
  return {};
}

#endif

void expect_cuda_close(const Forward& forward, const Tensors& inputs, DType dtype,
                       const std::vector<std::string>& names, double bound, CudaRun how) {
  const Program program = build(forward, dtype);
  const Tensors in = rounded_to(program, inputs);
  const Tensors exact = run_step(build(forward, DType::f64), in);
  for (const bool replayed : {false, true}) {
    how.replayed = replayed;
    const Tensors result = run_step_cuda(program, in, how);
    for (const std::string& name : names) {
      expect_near(result.at(name), exact.at(name), bound,
                  fmt::format("{} {}{}", name_of(dtype), name, replayed ? " replayed" : ""));
    }
  }
}

void expect_cuda_gradients_close(const Forward& forward, const Tensors& inputs, DType dtype,
                                 const std::vector<std::string>& outputs, double bound, const CudaRun& how) {
  WithSeeds cuda = gradient_program(forward, inputs, dtype, outputs);
  const Tensors in = rounded_to(cuda.program, cuda.inputs);
  const Tensors exact = run_step(gradient_program(forward, inputs, DType::f64, outputs).program, in);
  const Program plain = build(forward, dtype);
  const Tensors result = run_step_cuda(cuda.program, in, how);
  for (const Buffer& b : plain.buffers) {
    if (!b.trainable) continue;
    const std::string gradient = b.name + ".grad";
    ASSERT_TRUE(result.contains(gradient)) << b.name << " got no gradient";
    expect_near(result.at(gradient), exact.at(gradient), bound, fmt::format("{} {}", name_of(dtype), gradient));
  }
}

void expect_cuda_repeatable(const Forward& forward, const Tensors& inputs, DType dtype,
                            const std::vector<std::string>& outputs, const CudaRun& how) {
  WithSeeds run =
      outputs.empty() ? WithSeeds{build(forward, dtype), inputs} : gradient_program(forward, inputs, dtype, outputs);
  const Tensors first = run_step_cuda(run.program, run.inputs, how);
  for (int i = 0; i < 2; ++i) {
    const Tensors again = run_step_cuda(run.program, run.inputs, how);
    for (const auto& [name, values] : first) {
      EXPECT_EQ(std::memcmp(values.data(), again.at(name).data(), values.size() * sizeof(double)), 0)
          << name << " differs between runs";
    }
  }
}

void expect_cuda_equals_cpu(const Forward& forward, const Tensors& inputs, DType dtype,
                            const std::vector<std::string>& names) {
  const Program program = build(forward, dtype);
  const Tensors cpu = run_step(program, inputs);
  const Tensors cuda = run_step_cuda(program, inputs);
  for (const std::string& name : names) {
    EXPECT_EQ(std::memcmp(cpu.at(name).data(), cuda.at(name).data(), cpu.at(name).size() * sizeof(double)), 0)
        << name << " has other bits on the GPU";
  }
}

}  // namespace centavo::testing
