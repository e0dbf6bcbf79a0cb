#include "machine/virtual/profile.h"

#include <gmock/gmock.h>

#include "base/errors.h"
#include "base/files.h"
#include "tests/support/models.h"

namespace centavo {
namespace {

using ::testing::HasSubstr;

Profile small_profile() {
  return {.machine = "a \"processor\"",
          .features = "avx2 fma",
          .threads = 2,
          .commit = "abc",
          .date = "2026-01-31T12:05:09Z",
          .copy_bytes_per_second = 1e10,
          .to_device_bytes_per_second = 5e9,
          .to_host_bytes_per_second = 4e9,
          .product_flops = {{"f32", 2e11}, {"bf16", 5e11}},
          .disk_read_bytes_per_second = 0,
          .disk_write_bytes_per_second = 1.5e9,
          .runs = {{"def", "2026-02-01T12:05:09Z"}},
          .disturbed_share = 0.25,
          .samples = {{"linear f32 f32 - > f32", {64, 32, 16, 32, 64, 16}, 65536, 14336, 1e-6},
                      {"linear f32 f32 - > f32", {256, 64, 64, 64, 256, 64}, 2097152, 147456, 2.5e-5}}};
}

std::string file_with(const std::string& text) {
  const std::string path = testing::fresh_directory("profile") + "/profile.json";
  write_file_atomic(path, text);
  return path;
}

std::string why_refused(const std::string& text) {
  try {
    read_profile(file_with(text));
  } catch (const UserError& error) {
    return error.what();
  }
  return "taken";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(Profile, FloorIsTheSlowerOfProductsAndBytes) {
  const Profile p = small_profile();
  EXPECT_DOUBLE_EQ(p.floor_seconds({"linear f32 f32 - > f32", {}, {.flops = 2e11, .bytes = 1e9}}), 1.0);
  EXPECT_DOUBLE_EQ(p.floor_seconds({"linear bf16 bf16 - > f32", {}, {.flops = 2e11, .bytes = 1e9}}), 0.4);
  EXPECT_DOUBLE_EQ(p.floor_seconds({"linear f32 f32 - > f32", {}, {.flops = 1, .bytes = 1e11}}), 10.0);
}

// A gigabyte crosses: half of what is read and written.
TEST(Profile, ACopyToTheHostIsBoundByTheLink) {
  const Profile p = small_profile();
  EXPECT_DOUBLE_EQ(p.floor_seconds({"copy f32 > f32", {}, {.bytes = 2e9}}), 0.2);
  EXPECT_DOUBLE_EQ(p.floor_seconds({"copy f32 > f32@host", {}, {.bytes = 2e9}}), 0.25);
  EXPECT_DOUBLE_EQ(p.floor_seconds({"copy f32@host > f32", {}, {.bytes = 2e9}}), 0.2);
}

TEST(Profile, TakesNewerSamplesForOlder) {
  Profile p = small_profile();
  OpSample newer = p.samples[1];
  newer.seconds = 7;
  OpSample other = newer;
  other.signature = "linear f32 f32 - > f32+";
  p.take({newer, other});
  ASSERT_EQ(p.samples.size(), 3U);
  OpCosts costs(p);
  EXPECT_DOUBLE_EQ(costs.seconds({newer.signature, newer.extents, {.flops = newer.flops, .bytes = newer.bytes}}), 7);
  EXPECT_DOUBLE_EQ(costs.seconds({other.signature, newer.extents, {.flops = newer.flops, .bytes = newer.bytes}}), 7);
}

TEST(Profile, WrittenAndReadIsTheSame) {
  const std::string path = testing::fresh_directory("profile") + "/profile.json";
  Profile p = small_profile();
  p.device = DeviceKind::cuda;
  p.architecture = 90;
  p.multiprocessors = 132;
  write_profile(p, path);
  const Profile q = read_profile(path);
  EXPECT_EQ(q.machine, p.machine);
  EXPECT_EQ(q.device, p.device);
  EXPECT_EQ(q.architecture, p.architecture);
  EXPECT_EQ(q.multiprocessors, p.multiprocessors);
  EXPECT_EQ(q.to_device_bytes_per_second, p.to_device_bytes_per_second);
  EXPECT_EQ(q.to_host_bytes_per_second, p.to_host_bytes_per_second);
  EXPECT_EQ(q.date, p.date);
  EXPECT_EQ(q.runs, p.runs);
  EXPECT_EQ(q.threads, p.threads);
  EXPECT_EQ(q.product_flops, p.product_flops);
  EXPECT_EQ(q.disk_write_bytes_per_second, p.disk_write_bytes_per_second);
  EXPECT_EQ(q.disturbed_share, p.disturbed_share);
  ASSERT_EQ(q.samples.size(), p.samples.size());
  EXPECT_EQ(q.samples[1].signature, p.samples[1].signature);
  EXPECT_EQ(q.samples[1].extents, p.samples[1].extents);
  EXPECT_EQ(q.samples[1].seconds, p.samples[1].seconds);
  write_profile(q, path + ".again");
  EXPECT_EQ(read_file(path), read_file(path + ".again"));
}

TEST(Profile, BadFilesAreRefusedInOneSentence) {
  const std::string path = testing::fresh_directory("profile") + "/profile.json";
  write_profile(small_profile(), path);
  const std::string good = read_file(path);
  EXPECT_EQ(why_refused(good), "taken");
  EXPECT_EQ(why_refused(replaced(good, "\"runs\": ", "\"old\": ")), "taken");
  EXPECT_THAT(why_refused(replaced(good, "\"def\"", "7")), HasSubstr("run 0 of"));
  EXPECT_THAT(why_refused("{"), HasSubstr("is not JSON"));
  EXPECT_THAT(why_refused("[]"), HasSubstr("is no object; measure this machine again with centavo bench"));
  EXPECT_THAT(why_refused("{}"), HasSubstr("has no format"));
  EXPECT_THAT(why_refused(replaced(good, "\"format\": 2", "\"format\": 1")), HasSubstr("of another version"));
  EXPECT_THAT(why_refused(replaced(good, "\"machine\": ", "\"machina\": ")), HasSubstr("has no machine"));
  EXPECT_THAT(why_refused(replaced(good, "\"cpu\"", "\"tpu\"")), HasSubstr("a device that is neither cpu nor cuda"));
  EXPECT_THAT(why_refused(replaced(good, "\"threads\": 2", "\"threads\": \"2\"")),
              HasSubstr("has a threads that is no"));
  EXPECT_THAT(why_refused(replaced(good, "1e-06", "0")), HasSubstr("sample 0 of"));
  EXPECT_THAT(why_refused(replaced(good, "[64,", "[-64,")), HasSubstr("an extent that is no size"));
  EXPECT_THROW(read_profile(path + ".absent"), UserError);
}

TEST(OpCosts, AtASampleItsTime) {
  OpCosts costs(small_profile());
  for (const OpSample& s : small_profile().samples) {
    EXPECT_DOUBLE_EQ(costs.seconds({s.signature, s.extents, {.flops = s.flops, .bytes = s.bytes}}), s.seconds);
  }
  EXPECT_TRUE(costs.unknown().empty());
}

OpCase square_linear(int64_t n) {
  const auto size = static_cast<double>(n);
  return {"linear f32 f32 - > f32", {n, n, n, n, n, n}, {.flops = 2 * size * size * size, .bytes = 12 * size * size}};
}

TEST(OpCosts, GrowsWithSize) {
  OpCosts costs(small_profile());
  double last = 0;
  for (int64_t n = 16; n <= 4096; n += n / 8) {
    const double seconds = costs.seconds(square_linear(n));
    EXPECT_GT(seconds, last) << n;
    last = seconds;
  }
}

TEST(OpCosts, WithoutASampleCountedOnce) {
  OpCosts costs(small_profile());
  const OpCase add{"add f32 f32 > f32", {1000}, {.flops = 1000, .bytes = 12000}};
  EXPECT_GT(costs.seconds(add), costs.profile().floor_seconds(add));
  costs.seconds(add);
  costs.seconds({"add f32 f32 > f32", {2000}, {.flops = 2000, .bytes = 24000}});
  EXPECT_THAT(costs.unknown(), ::testing::ElementsAre("add f32 f32 > f32"));
}

}  // namespace
}  // namespace centavo
