// Checkpoints that several ranks write and read: threads of this process, a part of a tensor each.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <numeric>

#include "base/between_ranks.h"
#include "base/errors.h"
#include "base/files.h"
#include "machine/comm/threads.h"
#include "tests/support/models.h"
#include "train/checkpoint_files.h"
#include "train/checkpoint_manifest.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kElements = 200;

std::vector<float> values_of(int64_t step) {
  std::vector<float> values(kElements);
  std::iota(values.begin(), values.end(), static_cast<float>(step));
  return values;
}

// All hold `w`, and of `cut` their part.
std::string write(const std::string& out, int64_t step, Communicator& c) {
  const std::vector<float> values = values_of(step);
  const auto bytes = std::as_bytes(std::span(values));
  const int64_t begin = kElements * c.rank() / c.ranks();
  const int64_t end = kElements * (c.rank() + 1) / c.ranks();
  const std::vector<StatePart> state = {
      {"w", DType::f32, {2, 100}, 0, kElements, bytes},
      {"cut",
       DType::f32,
       {kElements},
       begin,
       end,
       bytes.subspan(static_cast<size_t>(begin) * 4, static_cast<size_t>(end - begin) * 4)}};
  return write_checkpoint(
      out, {.step = step, .program_hash = 1, .data_hash = 2, .config = "seed = 1\n", .program = "p\n", .state = state},
      c);
}

std::string write_of(int64_t ranks, const std::string& out, int64_t step) {
  ThreadWorld world(ranks);
  world.run([&](Communicator& c) { write(out, step, c); });
  return fmt::format("{}/checkpoints/step-{:08}", out, step);
}

std::vector<float> joined(const StoredTensor& tensor) {
  std::vector<std::byte> bytes;
  for (const StoredPiece& piece : tensor.pieces) bytes.insert(bytes.end(), piece.bytes.begin(), piece.bytes.end());
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

// What each rank's body threw, by rank; all must throw a T.
template <class T>
std::vector<std::string> errors_of(int64_t ranks, const std::function<void(Communicator&)>& body) {
  ThreadWorld world(ranks);
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  world.run([&](Communicator& c) {
    try {
      body(c);
    } catch (const T& error) {
      errors[static_cast<size_t>(c.rank())] = error.what();
    }
  });
  return errors;
}

TEST(CheckpointRanks, AnyNumberReadsWhatAnyNumberWrote) {
  for (const int64_t writers : {1, 2, 3, 5}) {
    const std::string directory = write_of(writers, fresh_directory("ranks"), 4);
    for (const int64_t readers : {1, 2, 4, 7}) {
      ThreadWorld world(readers);
      world.run([&](Communicator& c) {
        const Checkpoint checkpoint = read_checkpoint(directory, c);
        EXPECT_EQ(checkpoint.step, 4);
        EXPECT_EQ(checkpoint.config, "seed = 1\n");
        EXPECT_EQ(checkpoint.files.size(), static_cast<size_t>(writers));
        ASSERT_EQ(checkpoint.tensors.size(), 2U);
        EXPECT_EQ(joined(*checkpoint.find("w")), values_of(4));
        EXPECT_EQ(joined(*checkpoint.find("cut")), values_of(4));
      });
    }
  }
}

TEST(CheckpointRanks, EveryElementIsWrittenOnce) {
  const std::string directory = write_of(3, fresh_directory("ranks"), 1);
  std::vector<std::vector<std::string>> names;
  for (int64_t rank = 0; rank < 3; ++rank) {
    const SafetensorsFile file(directory + "/" + state_file(rank, 3));
    names.emplace_back();
    for (const TensorView& tensor : file.tensors()) names.back().push_back(tensor.name);
  }
  EXPECT_THAT(
      names, ElementsAre(ElementsAre("cut@0", "w@0"), ElementsAre("cut@66", "w@128"), ElementsAre("cut@133", "w@192")));
}

void overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// One flipped bit in every byte of every file, and every cut: both ranks refuse alike, and take the one before.
TEST(CheckpointRanks, EveryDamageIsFoundByAll) {
  const std::string directory = write_of(2, fresh_directory("ranks"), 1);
  ThreadWorld world(2);
  for (const std::string& name : names_in(directory)) {
    const std::string path = directory + "/" + name;
    const std::string whole = read_file(path);
    const auto expect_refused = [&](const std::string& bytes, const std::string& what) {
      overwrite(path, bytes);
      std::vector<std::string> errors(2);
      world.run([&](Communicator& c) {
        try {
          read_checkpoint(directory, c);
        } catch (const UserError& error) {
          errors[static_cast<size_t>(c.rank())] = error.what();
        }
      });
      ASSERT_THAT(errors[0], HasSubstr(path)) << what;
      ASSERT_EQ(errors[0], errors[1]) << what;
    };
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
      expect_refused(flipped, fmt::format("{} byte {} flipped", name, i));
      expect_refused(whole.substr(0, i), fmt::format("{} cut to {}", name, i));
    }
    expect_refused(whole + "\n", name + " extended");
    overwrite(path, whole);
  }
  world.run([&](Communicator& c) { EXPECT_EQ(read_checkpoint(directory, c).step, 1); });
}

// Sound files that are not those of the manifest: one state in the place of another, sealed anew.
TEST(CheckpointRanks, StatesThatTheManifestDoesNotDescribeAreFound) {
  const std::string directory = write_of(2, fresh_directory("ranks"), 1);
  const std::string path = directory + "/manifest.json";
  Manifest manifest = parse_manifest(path, read_file(path));
  fs::copy_file(directory + "/" + state_file(1, 2), directory + "/" + state_file(0, 2),
                fs::copy_options::overwrite_existing);
  manifest.files[state_file(0, 2)] = manifest.files[state_file(1, 2)];
  write_file_atomic(path, print_manifest(manifest));
  const auto read = [&](Communicator& c) { read_checkpoint(directory, c); };
  for (const std::string& error : errors_of<UserError>(2, read)) {
    EXPECT_THAT(error,
                HasSubstr("state-00000-of-00002.safetensors is damaged: it does not hold cut@0 as the manifest"));
  }
  std::erase_if(manifest.tensors, [](const TensorPieces& tensor) { return tensor.name == "w"; });
  manifest.tensors[0].pieces = {{1, 0, 100}, {1, 100, 200}};
  write_file_atomic(path, print_manifest(manifest));
  for (const std::string& error : errors_of<UserError>(2, read))
    EXPECT_THAT(error, HasSubstr("it does not hold cut@0"));
}

TEST(CheckpointRanks, AllAgreeOnTheNewestWholeOne) {
  const std::string out = fresh_directory("ranks");
  const std::vector<std::string> places = {write_of(2, out, 3), write_of(3, out, 6), write_of(2, out, 9)};
  overwrite(places[2] + "/" + state_file(1, 2), "x");
  ThreadWorld world(3);
  world.run([&](Communicator& c) {
    EXPECT_EQ(list_checkpoints(out, c).front(), (CheckpointPlace{9, places[2]}));
    const auto newest = read_newest_checkpoint(out, c);
    ASSERT_TRUE(newest);
    EXPECT_EQ(newest->directory, places[1]);
    EXPECT_EQ(joined(*newest->checkpoint.find("w")), values_of(6));
    EXPECT_EQ(newest->damaged.size(), 1U);
    remove_checkpoints_beyond(out, 6, c);
    EXPECT_EQ(list_checkpoints(out, c).size(), 2U);
    prune_checkpoints(out, 1, c);
    EXPECT_EQ(list_checkpoints(out, c), (std::vector<CheckpointPlace>{{6, places[1]}}));
    EXPECT_FALSE(read_newest_checkpoint(out + "/none", c));
  });
  EXPECT_THAT(names_in(out + "/checkpoints"), ElementsAre("step-00000006"));
}

std::vector<std::string> hosts_of(const Communicator& c) {
  std::vector<std::string> hosts;
  for (int64_t rank = 0; rank < c.ranks(); ++rank) hosts.push_back(c.host_of(rank));
  return hosts;
}

// A rank whose file cannot take its place: as soon as the directory is there, a directory lies under the file's name.
class Obstructed : public Communicator {
 public:
  Obstructed(Communicator& inner, std::string unfinished)
      : Communicator(inner.rank(), hosts_of(inner)), inner_(inner), unfinished_(std::move(unfinished)) {}

  void exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    inner_.exchange(sends, receives);
    std::error_code no_such_directory;  // not made yet, or removed already
    done_ = done_ || fs::create_directory(unfinished_ + "/" + state_file(rank(), ranks()), no_such_directory);
  }

 private:
  Communicator& inner_;
  std::string unfinished_;
  bool done_ = false;
};

TEST(CheckpointRanks, WhereOneRankCannotWriteNoneHas) {
  for (const int64_t failing : {0, 1, 2}) {
    const std::string out = fresh_directory("ranks");
    const std::string before = write_of(3, out, 1);
    for (const int64_t step : {1, 2}) {  // also one that would replace the old
      const std::string unfinished = fmt::format("{}/checkpoints/step-{:08}.tmp", out, step);
      const auto errors = errors_of<IoError>(3, [&](Communicator& c) {
        Obstructed obstructed(c, unfinished);
        write(out, step, c.rank() == failing ? obstructed : c);
      });
      EXPECT_THAT(errors[0], HasSubstr(fmt::format("rank {} on host ", failing)));
      EXPECT_THAT(errors[0], HasSubstr(fmt::format("{}/{}", unfinished, state_file(failing, 3))));
      EXPECT_EQ(errors[0], errors[1]);
      EXPECT_EQ(errors[0], errors[2]);
      EXPECT_THAT(names_in(out + "/checkpoints"), ElementsAre("step-00000001"));
    }
    ThreadWorld world(3);
    world.run([&](Communicator& c) {
      const auto newest = read_newest_checkpoint(out, c);
      ASSERT_TRUE(newest);
      EXPECT_EQ(newest->directory, before);
      EXPECT_EQ(joined(*newest->checkpoint.find("cut")), values_of(1));
    });
  }
}

TEST(CheckpointRanks, AFailureOfRankZeroReachesAll) {
  const std::string out = fresh_directory("ranks");
  write_file_atomic(out + "/checkpoints", "a file where the directory would be");
  const auto errors = errors_of<IoError>(2, [&](Communicator& c) { write(out, 1, c); });
  EXPECT_THAT(errors[0], HasSubstr("rank 0 on host"));
  EXPECT_EQ(errors[0], errors[1]);
}

TEST(CheckpointRanks, RanksThatSeeDifferentDirectoriesAreTold) {
  const std::vector<std::string> outs = {fresh_directory("ranks"), fresh_directory("ranks")};
  const std::vector<std::string> directories = {write_of(1, outs[0], 1), write_of(2, outs[1], 1)};
  const auto errors =
      errors_of<RankError>(2, [&](Communicator& c) { read_checkpoint(directories[static_cast<size_t>(c.rank())], c); });
  for (const std::string& error : errors) EXPECT_THAT(error, HasSubstr("must see the same output directory"));
}

TEST(AllOrNone, TextsOrTheLowestRanksError) {
  ThreadWorld world(3);
  world.run([](Communicator& c) {
    EXPECT_THAT(all_or_none(c, [&] { return fmt::format("r{}", c.rank()); }), ElementsAre("r0", "r1", "r2"));
    EXPECT_EQ(on_rank_zero(c, [&] { return fmt::format("r{}", c.rank()); }), "r0");
    const auto failing = [&]() -> std::string {
      if (c.rank() == 1) throw IoError("disk");
      if (c.rank() == 2) throw UserError("user");
      return {};
    };
    try {
      all_or_none(c, failing);
      ADD_FAILURE() << "no error";
    } catch (const IoError& error) {
      EXPECT_EQ(std::string(error.what()), fmt::format("rank 1 on host {}: disk", c.host_of(1)));
    }
    barrier(c);  // the world is still of use
  });
}

}  // namespace
}  // namespace centavo::testing
