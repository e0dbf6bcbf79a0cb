#include "passes/offload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "machine/cpu/guard.h"
#include "model/initialize.h"
#include "passes/edges.h"
#include "passes/place.h"
#include "passes/schedule.h"
#include "passes/sections.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "train/run_state.h"
#include "train/step_program.h"
#include "train/token_feed.h"

namespace centavo::testing {
namespace {

using What = std::set<Offloaded>;
const What kActivations = {Offloaded::activations};
const What kStates = {Offloaded::states};
const What kBoth = {Offloaded::activations, Offloaded::states};

Program planned(const RunConfig& config, const What& what, int64_t red_zone_bytes = 0, int64_t smallest_bytes = 1,
                int64_t prefetch = 1) {
  Program p = training_program(test_ops(), config, 2, "precision");
  p = offload(std::move(p), {.what = what, .smallest_bytes = smallest_bytes});
  verify(p, test_ops());
  p = schedule(sections(std::move(p), test_ops(), config.grad_accum_steps), test_ops(), {.prefetch = prefetch});
  verify(p, test_ops());
  p = place(add_cpu_workspaces(std::move(p), test_ops(), {.threads = 2}),
            {.red_zone_bytes = red_zone_bytes, .borrow = {}});
  p = derive_edges(std::move(p), test_ops());
  verify(p, test_ops());
  return p;
}

// The persistent buffers after two steps on the debug machine.
std::map<std::string, std::vector<std::byte>> two_steps(const RunConfig& config, const What& what,
                                                        const std::string& host_directory = "") {
  CpuMachine machine(planned(config, what, kRedZoneBytes), test_ops(),
                     {.threads = 2, .debug = true, .host_directory = host_directory});
  initialize_parameters(machine, config.model, 5);
  const Corpus corpus = corpus_of(config);
  TokenFeed feed(corpus, config.micro_batch, config.seq_len, 1);
  for (int64_t step = 0; step < 2; ++step) {
    for (int64_t i = 0; i < config.grad_accum_steps; ++i) {
      const int64_t index = step * config.grad_accum_steps + i;
      feed.training(machine, index, index % token_slots(config));
    }
    const float lr = 1e-2F;
    machine.write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step % 2);
    machine.step();
  }
  std::map<std::string, std::vector<std::byte>> state;
  for (const StatePart& tensor : state_parts(machine)) {
    state[tensor.tensor] = bytes_of(tensor.bytes);
  }
  return state;
}

TEST(Offload, ChangesNoBitAndNoName) {
  for (const char* precision : {"precision=fp32", "precision=bf16"}) {
    for (const char* accumulation : {"grad_accum_steps=1", "grad_accum_steps=3"}) {
      const RunConfig config = micro_run(fresh_directory("offload"), {precision, accumulation});
      const auto plain = two_steps(config, {});
      EXPECT_EQ(two_steps(config, kActivations), plain) << precision << " " << accumulation;
      EXPECT_EQ(two_steps(config, kStates), plain) << precision << " " << accumulation;
      EXPECT_EQ(two_steps(config, kBoth), plain) << precision << " " << accumulation;
    }
  }
}

TEST(Offload, TheHostArenaMayBeAFile) {
  const RunConfig config = micro_run(fresh_directory("file"), {});
  const std::string directory = fresh_directory("host");
  EXPECT_EQ(two_steps(config, kBoth, directory), two_steps(config, {}));
  EXPECT_TRUE(std::filesystem::is_empty(directory));
}

TEST(Offload, TheHostArenaNeedsADirectory) {
  const RunConfig config = micro_run(fresh_directory("nowhere"), {});
  EXPECT_THROW(two_steps(config, kStates, "/nowhere at all"), UserError);
}

RunConfig six_layers(const std::string& what) {
  return micro_run(fresh_directory(what), {"model.num_hidden_layers=6", "model.hidden_size=64", "seq_len=48",
                                           "model.intermediate_size=96", "loss_chunk=16"});
}

int64_t device_bytes(const Program& program) { return program.arena_bytes.at(Home::device); }

TEST(Offload, StatesLeaveTheDevice) {
  const RunConfig config = six_layers("states");
  const Program plain = planned(config, {});
  const Program moved = planned(config, kStates);
  int64_t state_bytes = 0;
  int64_t largest = 0;
  for (const Buffer& b : plain.buffers) {
    if (b.kind != BufferKind::optimizer_state) continue;
    EXPECT_EQ(moved.buffer(moved.find(b.name)).home, Home::host);
    EXPECT_TRUE(moved.buffer(moved.find(b.name)).persistent);
    state_bytes += align_up(b.bytes());
    largest = std::max(largest, align_up(b.bytes()));
  }
  EXPECT_EQ(moved.arena_bytes.at(Home::host), state_bytes);
  // At most two units of two moments are on the device, and those lie where activations lay.
  EXPECT_LE(device_bytes(moved), device_bytes(plain) - state_bytes + 4 * largest);
  EXPECT_LT(2 * 4 * largest, state_bytes);  // else the line above says nothing
}

TEST(Offload, ActivationsOfTwoLayersStayOnTheDevice) {
  const RunConfig config = six_layers("activations");
  const Program plain = planned(config, {});
  const Program moved = planned(config, kActivations);
  int64_t waiting = 0;
  for (const Buffer& b : moved.buffers) {
    if (b.home == Home::host) waiting += align_up(b.bytes());
  }
  EXPECT_EQ(moved.arena_bytes.at(Home::host), waiting);
  const int64_t a_layer = waiting / 6;
  EXPECT_GT(waiting, device_bytes(plain) / 4);
  EXPECT_LE(device_bytes(moved), device_bytes(plain) - waiting + 3 * a_layer);
}

TEST(Offload, SmallTensorsStay) {
  const RunConfig config = six_layers("small");
  const Program program = planned(config, kBoth, 0, 4096);
  bool some_stay = false;
  for (const Buffer& b : program.buffers) {
    EXPECT_TRUE(b.home == Home::device || b.bytes() >= 4096) << b.name;
    some_stay = some_stay || (b.kind == BufferKind::optimizer_state && b.home == Home::device && b.bytes() < 4096);
  }
  EXPECT_TRUE(some_stay);
}

TEST(Offload, FetchesOfTheNextUnitStandBeforeTheUpdateOfThisOne) {
  const Program program = planned(six_layers("order"), kStates);
  const std::vector<Op>& ops = program.find_section("update")->ops;
  std::vector<size_t> updates;
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].kind == "adamw") updates.push_back(i);
  }
  for (size_t k = 0; k + 1 < updates.size(); ++k) {
    for (const size_t moment : {2U, 3U}) {
      const BufferId fetched = ops[updates[k + 1]].inputs[moment];
      const auto fetch =
          std::ranges::find_if(ops, [&](const Op& op) { return op.kind == "copy" && op.outputs[0].buffer == fetched; });
      ASSERT_NE(fetch, ops.end());
      EXPECT_LT(fetch - ops.begin(), static_cast<int64_t>(updates[k]));
      EXPECT_EQ(fetch->lane, Lane::copy);
    }
  }
}

TEST(Offload, EachEdgeIsNeeded) {
  for (const int64_t prefetch : {0, 1, 2}) {
    const RunConfig config = micro_run(fresh_directory("edges"), {"grad_accum_steps=2", "model.num_hidden_layers=3"});
    const Program program = planned(config, kBoth, 0, 1, prefetch);
    int edges = 0;
    for (size_t s = 0; s < program.sections.size(); ++s) {
      for (size_t o = 0; o < program.sections[s].ops.size(); ++o) {
        for (size_t e = 0; e < program.sections[s].ops[o].after.size(); ++e, ++edges) {
          Program mutant = program;
          auto& after = mutant.sections[s].ops[o].after;
          after.erase(after.begin() + static_cast<int64_t>(e));
          EXPECT_THROW(verify(mutant, test_ops()), UserError)
              << print(program, program.sections[s], program.sections[s].ops[o]);
        }
      }
    }
    EXPECT_GT(edges, 20);
  }
}

// What the backward computes again, changes or sees through windows is no candidate; nor what no layer makes.
TEST(Offload, OnlyWholeTensorsThatWaitAreMoved) {
  const std::string text =
      "centavo 1\nbuffer a f32[4, 4] parameter persistent\nbuffer waits f32[4, 4] activation\n"
      "buffer replayed f32[4, 4] activation\nbuffer cut f32[8, 4] activation\n"
      "buffer half f32[4, 4] activation view=cut+0\nbuffer outside f32[4, 4] activation\n"
      "buffer forward f32[4, 4] activation\nbuffer changed f32[4, 4] activation\nbuffer y f32[4, 4] activation\n"
      "section micro\n"
      "%1 waits = add(a, a) | layer=0\n%2 replayed = add(a, a) | layer=0\n%3 half = add(a, a) | layer=0\n"
      "%4 outside = add(a, a)\n%5 forward = add(waits, replayed) | layer=0\n%6 changed = add(forward, a) | layer=0\n"
      "%7 replayed = add(a, a) | layer=0 backward of=%2\n%8 y = add(waits, replayed) | layer=0 backward\n"
      "%9 y = add(half, outside) | layer=0 backward\n%10 changed = add(changed, y) | layer=0 backward\nstep micro\n";
  const Program program = offload(parse(text), {.what = kActivations, .smallest_bytes = 1});
  for (const Buffer& b : program.buffers) EXPECT_EQ(b.home == Home::host, b.name == "waits.host") << b.name;
  const Program scheduled = schedule(program, test_ops());
  EXPECT_NO_THROW(verify(scheduled, test_ops()));
  EXPECT_EQ(offload(parse(text), {}), parse(text));
}

}  // namespace
}  // namespace centavo::testing
