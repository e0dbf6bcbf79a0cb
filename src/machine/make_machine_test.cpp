#include "machine/make_machine.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/errors.h"
#include "machine/cuda/gpu.h"
#include "ops/all.h"
#include "ops/cuda/kernels.h"
#include "passes/place.h"
#include "program/text.h"

namespace centavo {
namespace {

constexpr const char* kNoCuda =
    "this centavo was built without CUDA; install the CUDA toolkit and build again, or use device = \"cpu\"";

const OpTable& ops() {
  static const OpTable table = all_ops();
  return table;
}

// Two buffers, the second a view of the first.
Program counters() {
  return place(
      parse("centavo 1\nranks 1\nbuffer step i64[1] control persistent\nbuffer x f32[10] parameter persistent\n"
            "buffer y f32[4] parameter persistent view=x+3\nsection only\n  %1 step = advance(step)\nstep only\n"));
}

template <class F>
std::string user_error_of(const F& f) {
  try {
    f();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(MakeMachine, DevicesByName) {
  EXPECT_EQ(choose_device("cpu").device, DeviceKind::cpu);
  EXPECT_EQ(choose_device("cpu", 4).note, "");
  EXPECT_EQ(name_of(DeviceKind::cpu), "cpu");
  EXPECT_EQ(name_of(DeviceKind::cuda), "cuda");
}

TEST(MakeMachine, WithoutCudaThereIsTheProcessor) {
  if (built_with_cuda()) GTEST_SKIP() << "built with CUDA";
  EXPECT_EQ(choose_device("auto").device, DeviceKind::cpu);
  EXPECT_EQ(choose_device("auto").note, "");
  EXPECT_EQ(user_error_of([] { choose_device("cuda"); }), kNoCuda);
  EXPECT_EQ(user_error_of([] { make_machine(counters(), ops(), {.device = DeviceKind::cuda}); }), kNoCuda);
}

TEST(MakeMachine, AGpuIsForOneRank) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  EXPECT_EQ(choose_device("cuda").device, DeviceKind::cuda);
  EXPECT_EQ(user_error_of([] { choose_device("cuda", 2); }),
            "device = \"cuda\" is for one rank so far and the run has 2; use one, or device = \"cpu\"");
  EXPECT_EQ(choose_device("auto", 2).device, DeviceKind::cpu);
  EXPECT_EQ(choose_device("auto", 2).note.empty(), gpu_count() == 0);
}

TEST(MakeMachine, ElementsAreReadWhereTheyAreWritten) {
  const auto machine = make_machine(counters(), ops(), {.threads = 1});
  std::vector<float> values(10);
  std::iota(values.begin(), values.end(), 1.0F);
  machine->write("x", std::as_bytes(std::span<const float>(values)));
  std::vector<float> some(3);
  machine->read_elements("x", 5, std::as_writable_bytes(std::span<float>(some)));
  EXPECT_EQ(some, (std::vector<float>{6, 7, 8}));
  machine->read_elements("y", 1, std::as_writable_bytes(std::span<float>(some)));
  EXPECT_EQ(some, (std::vector<float>{5, 6, 7}));

  std::vector<float> streamed;
  elements_of(*machine, "y", 0, 4).part(4, 8).stream([&](std::span<const std::byte> bytes) {
    const auto* begin = reinterpret_cast<const float*>(bytes.data());
    streamed.insert(streamed.end(), begin, begin + bytes.size() / sizeof(float));
  });
  EXPECT_EQ(streamed, (std::vector<float>{5, 6}));
}

TEST(MakeMachineDeathTest, ElementsLieInTheBuffer) {
  const auto machine = make_machine(counters(), ops(), {.threads = 1});
  std::vector<float> some(3);
  EXPECT_DEATH(machine->read_elements("y", 2, std::as_writable_bytes(std::span<float>(some))), "elements of y");
  EXPECT_DEATH(machine->read_elements("z", 0, {}), "no buffer z");
}

}  // namespace
}  // namespace centavo
