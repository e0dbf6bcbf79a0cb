// Promise 3 for ranks: what any world writes, any other reads, in the same bits, whatever is cut in the one or the
// other.

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "base/rng.h"
#include "machine/comm/threads.h"
#include "program/tensors.h"
#include "tests/support/sanitized.h"
#include "tests/support/worlds.h"
#include "train/run_state.h"
#include "train/step_program.h"

namespace centavo::testing {
namespace {

using State = std::map<std::string, std::vector<std::byte>>;

RunConfig config_of(const std::string& directory, const std::string& row) {
  return micro_run(directory, {"precision=bf16", "grad_accum_steps=4", "micro_batch=1", "seq_len=16", "shard=" + row});
}

// Machines of all ranks, at rest.
class World {
 public:
  World(const std::string& row, const Mesh& mesh)
      : name_(fmt::format("{} on {}x{}", row, mesh.nodes, mesh.local)), world_(mesh.ranks()) {
    const RunConfig config = config_of(fresh_directory("world"), row);
    for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
      const MachineOptions options{.threads = 1, .debug = false, .communicator = &world_.of(rank)};
      machines_.push_back(
          machine_for(training_program(test_ops(), config, Worker(1, mesh, rank), "sections"), options));
    }
  }

  const std::string& name() const { return name_; }

  // Every element a function of its tensor's name, its index and `seed`.
  void fill(uint64_t seed) {
    for (const auto& machine : machines_) {
      for (const TensorPart& part : tensor_parts(machine->program())) fill(*machine, part, seed);
    }
  }

  void write(const std::string& out) {
    world_.run([&](Communicator& c) {
      const std::vector<StatePart> state = state_parts(machine(c));
      write_checkpoint(out, {.step = 1, .program_hash = 0, .data_hash = 0, .config = "", .program = "", .state = state},
                       c);
    });
  }

  void read(const std::string& out) {
    world_.run([&](Communicator& c) { restore(machine(c), read_newest_checkpoint(out, c)->checkpoint); });
  }

  State state() const {
    WorldState all;
    for (size_t rank = 0; rank < machines_.size(); ++rank) all.add(*machines_[rank], static_cast<int64_t>(rank));
    return all.take();
  }

  std::vector<std::unique_ptr<CpuMachine>>& machines() { return machines_; }

 private:
  CpuMachine& machine(const Communicator& c) { return *machines_[static_cast<size_t>(c.rank())]; }

  static void fill(CpuMachine& machine, const TensorPart& part, uint64_t seed) {
    const RandomStream stream{seed, stream_of(part.tensor.data(), part.tensor.size())};
    const auto size = static_cast<size_t>(size_of(part.dtype));
    std::vector<std::byte> bytes(static_cast<size_t>(part.elements()) * size);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(stream.bits(static_cast<uint64_t>(part.begin) * size + i));
    }
    machine.write_elements(machine.program().buffer(part.buffer).name, part.at, bytes);
  }

  std::string name_;
  ThreadWorld world_;
  std::vector<std::unique_ptr<CpuMachine>> machines_;
};

std::vector<std::unique_ptr<World>> all_worlds() {
  std::vector<std::unique_ptr<World>> worlds;
  const std::vector<int64_t> sizes = kSanitized ? std::vector<int64_t>{1, 3} : std::vector<int64_t>{1, 2, 3, 4};
  for (const char* row : {"ddp", "zero1", "zero3"}) {
    for (const int64_t ranks : sizes) worlds.push_back(std::make_unique<World>(row, Mesh{1, ranks}));
  }
  for (const char* row : {"hybrid", "hybrid-full"}) worlds.push_back(std::make_unique<World>(row, Mesh{2, 2}));
  return worlds;
}

std::vector<std::string> differing(const State& a, const State& b) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : a) {
    if (!b.contains(name) || b.at(name) != bytes) names.push_back(name);
  }
  for (const auto& [name, bytes] : b) {
    if (!a.contains(name)) names.push_back(name);
  }
  return names;
}

TEST(CheckpointWorlds, AnyReadsAnyOther) {
  const auto worlds = all_worlds();
  uint64_t seed = 1;
  for (const auto& writer : worlds) {
    const std::string out = fresh_directory("worlds");
    writer->fill(seed);
    const State expected = writer->state();
    writer->write(out);
    for (const auto& reader : worlds) {
      reader->fill(seed + 1);
      ASSERT_FALSE(differing(reader->state(), expected).empty());
      reader->read(out);
      EXPECT_EQ(differing(reader->state(), expected), std::vector<std::string>())
          << writer->name() << " read by " << reader->name();
    }
    seed += 2;
  }
}

TEST(CheckpointWorlds, EveryRankKnowsTheSameTensors) {
  std::vector<LogicalTensor> alone;
  for (const auto& world : all_worlds()) {
    for (const auto& machine : world->machines()) {
      std::vector<LogicalTensor> tensors = logical_tensors(machine->program());
      std::ranges::sort(tensors, {}, &LogicalTensor::name);
      if (alone.empty()) alone = tensors;
      EXPECT_TRUE(tensors == alone) << world->name();
    }
  }
  EXPECT_GT(alone.size(), 20U);
}

// A rank alone: the file holds the tensors of the network and nothing that tells of units, cuts or ranks.
TEST(CheckpointWorlds, OneRankWritesWholeTensorsUnderTheirOwnNames) {
  World world("zero3", Mesh{1, 1});
  const std::string out = fresh_directory("worlds");
  world.fill(3);
  world.write(out);
  const SafetensorsFile file(out + "/checkpoints/step-00000001/state-00000-of-00001.safetensors");
  std::map<std::string, LogicalTensor> expected;
  for (const LogicalTensor& t : logical_tensors(world.machines()[0]->program())) expected[t.name] = t;
  EXPECT_EQ(expected.erase("micro_step"), 1U);
  EXPECT_EQ(file.tensors().size(), expected.size());
  for (const TensorView& tensor : file.tensors()) {
    ASSERT_TRUE(expected.contains(tensor.name)) << tensor.name;
    EXPECT_EQ(tensor.shape, expected[tensor.name].shape);
    EXPECT_EQ(tensor.dtype, expected[tensor.name].dtype);
  }
  for (const char* name :
       {"embed.weight", "embed.weight.m", "layers.0.qkv.weight", "layers.0.qkv.weight.master", "step"}) {
    EXPECT_NE(file.find(name), nullptr) << name;
  }
}

// Every rank of every world refuses alike what belongs to another model, and is left as it was.
TEST(CheckpointWorlds, OtherTensorsAreRefused) {
  World writer("ddp", Mesh{1, 1});
  writer.fill(1);
  World reader("zero3", Mesh{1, 4});
  reader.fill(2);
  const State before = reader.state();
  const std::vector<StatePart> whole = state_parts(*writer.machines()[0]);
  const auto expect_refused = [&](const std::vector<StatePart>& state, const std::string& why) {
    const std::string out = fresh_directory("other");
    write_checkpoint(out, {.step = 1, .program_hash = 0, .data_hash = 0, .config = "", .program = "", .state = state});
    const std::optional<NewestCheckpoint> newest = read_newest_checkpoint(out);
    for (const auto& machine : reader.machines()) {
      try {
        restore(*machine, newest->checkpoint);
        ADD_FAILURE() << "accepted, expected: " << why;
      } catch (const UserError& error) {
        EXPECT_EQ(std::string(error.what()).substr(0, why.size()), why);
      }
    }
    EXPECT_EQ(differing(reader.state(), before), std::vector<std::string>());
  };
  const auto at = [&](std::vector<StatePart>& state, const std::string& name) {
    return std::ranges::find(state, name, &StatePart::tensor);
  };
  std::vector<StatePart> changed = whole;
  changed.erase(at(changed, "norm.weight.m"));
  expect_refused(changed, "the checkpoint lacks norm.weight.m;");
  changed = whole;
  at(changed, "norm.weight.m")->tensor = "norm.weight.n";
  expect_refused(changed, "the checkpoint lacks norm.weight.m;");
  changed = whole;
  changed.push_back(*at(changed, "step"));
  changed.back().tensor = "more";
  expect_refused(changed, "the checkpoint holds more, which this run does not have;");
  changed = whole;
  StatePart& reshaped = *at(changed, "embed.weight");
  std::swap(reshaped.shape[0], reshaped.shape[1]);
  expect_refused(changed, "the checkpoint's embed.weight is bf16[");
  changed = whole;
  StatePart& retyped = *at(changed, "step");
  retyped.dtype = DType::f64;
  expect_refused(changed, "the checkpoint's step is f64[1], this run's is i64[1];");

  changed = whole;  // a rank's own counter is passed over
  changed.push_back(*at(changed, "step"));
  changed.back().tensor = "micro_step";
  const std::string out = fresh_directory("other");
  write_checkpoint(out, {.step = 1, .program_hash = 0, .data_hash = 0, .config = "", .program = "", .state = changed});
  reader.read(out);
  EXPECT_EQ(differing(reader.state(), writer.state()), std::vector<std::string>());
}

}  // namespace
}  // namespace centavo::testing
