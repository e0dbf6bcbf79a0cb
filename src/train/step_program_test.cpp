#include "train/step_program.h"

#include <gtest/gtest.h>

#include "program/text.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

// Somewhere in a world of hosts; never talks.
class Placed : public Communicator {
 public:
  Placed(int64_t rank, std::vector<std::string> hosts) : Communicator(rank, std::move(hosts)) {}
  void exchange(std::span<const Send>, std::span<const Receive>) override {}
};

TEST(Worker, NodesAreHostsWithEquallyManyNeighbours) {
  const auto mesh = [](std::vector<std::string> hosts) {
    Placed world(0, std::move(hosts));
    const Mesh m = Worker(1, world).mesh;
    return std::pair(m.nodes, m.local);
  };
  EXPECT_EQ(mesh({"a"}), std::pair(int64_t{1}, int64_t{1}));
  EXPECT_EQ(mesh({"a", "a", "b", "b"}), std::pair(int64_t{2}, int64_t{2}));
  EXPECT_EQ(mesh({"a", "b", "c"}), std::pair(int64_t{3}, int64_t{1}));
  EXPECT_EQ(mesh({"a", "b", "a", "b"}), std::pair(int64_t{1}, int64_t{4})) << "dealt out: no block is a node";
  EXPECT_EQ(mesh({"a", "a", "b"}), std::pair(int64_t{1}, int64_t{3}));
  EXPECT_EQ(mesh({"a", "a", "b", "b", "a", "a"}), std::pair(int64_t{1}, int64_t{6}));
}

// The hash in a checkpoint is that of the text up to `precision`, on whatever device it was made.
TEST(Worker, UpToTheWorkspacesTheDeviceDoesNotMatter) {
  RunConfig config = micro_run(fresh_directory("device"), {"grad_accum_steps=2", "recompute=cheap", "precision=bf16"});
  Worker gpu = 1;
  gpu.device = DeviceKind::cuda;
  gpu.gpu.deterministic = true;
  for (const std::string& pass : pass_names()) {
    if (pass == "workspaces") break;
    const std::string text = print(training_program(test_ops(), config, 1, pass));
    config.device = "cuda";
    config.deterministic = true;
    EXPECT_EQ(print(training_program(test_ops(), config, gpu, pass)), text) << pass;
  }
  EXPECT_TRUE(std::holds_alternative<CudaTraits>(gpu.traits()));
  EXPECT_EQ(std::get<CpuTraits>(Worker(3).traits()).threads, 3);
  EXPECT_EQ(gpu.machine_options().device, DeviceKind::cuda);
  EXPECT_TRUE(gpu.machine_options().deterministic);
}

// What is learnt costs the same work, however it is computed.
TEST(RunStepFlops, KnowsNeitherRanksNorTechniques) {
  RunConfig config = micro_run(fresh_directory("flops"), {"grad_accum_steps=5"});
  const double flops = run_step_flops(test_ops(), config);
  config.recompute = "full";
  config.shard = "zero3";
  EXPECT_EQ(run_step_flops(test_ops(), config), flops);
  config.grad_accum_steps = 10;
  EXPECT_GT(run_step_flops(test_ops(), config), 1.9 * flops);
}

TEST(Passes, AreNamedInTheirOrder) {
  const RunConfig config = micro_run(fresh_directory("passes"), {});
  for (const std::string& name : pass_names()) EXPECT_NO_THROW(training_program(test_ops(), config, 1, name)) << name;
  EXPECT_EQ(pass_names().front(), "forward");
  EXPECT_EQ(pass_names().back(), "place");
}

}  // namespace
}  // namespace centavo::testing
