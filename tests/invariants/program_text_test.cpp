// Promise 6, the seven programs of docs/decisions/0001-program.md, and the mutation test of verify.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "passes/place.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "tests/support/paths.h"
#include "train/step_program.h"

namespace centavo::testing {
namespace {

// The fenced blocks of kind `program` on the decision page.
std::vector<std::string> decided_programs() {
  const std::string page = read_file(source_path("docs/decisions/0001-program.md"));
  std::vector<std::string> texts;
  const std::string open = "```program\n";
  for (size_t at = page.find(open); at != std::string::npos; at = page.find(open, at)) {
    at += open.size();
    const size_t end = page.find("```", at);
    texts.push_back(page.substr(at, end - at));
  }
  return texts;
}

TEST(ProgramText, TheSevenProgramsPrintBackAndVerify) {
  const auto texts = decided_programs();
  ASSERT_EQ(texts.size(), 7U);
  for (const std::string& text : texts) {
    const Program program = parse(text);
    EXPECT_EQ(print(program), text);
    EXPECT_NO_THROW(verify(program, test_ops()));
    const Program placed = place(add_cpu_workspaces(program, test_ops(), {2}));
    EXPECT_NO_THROW(verify(placed, test_ops()));
    EXPECT_EQ(parse(print(placed)), placed);
  }
}

// Every edge of every program is needed: without it verify objects.
TEST(ProgramText, EachEdgeRemovedIsRejected) {
  int64_t edges = 0;
  for (const std::string& text : decided_programs()) edges += expect_each_edge_needed(parse(text));
  EXPECT_EQ(edges, 11);
}

// Every op of a training step is needed for what follows it, or is an output of the step.
TEST(ProgramText, EachRemovedProducerIsRejected) {
  const Program program = parse(decided_programs()[0]);
  int removed = 0;
  for (size_t s = 0; s < program.sections.size(); ++s) {
    for (size_t o = 0; o < program.sections[s].ops.size(); ++o) {
      const std::string& kind = program.sections[s].ops[o].kind;
      if (kind == "adamw" || kind == "advance") continue;  // they change state that is initialised anyway
      if (program.sections[s].ops[o].outputs[0].bind == Bind::add) continue;
      Program mutant = program;
      mutant.sections[s].ops.erase(mutant.sections[s].ops.begin() + static_cast<int64_t>(o));
      EXPECT_THROW(verify(mutant, test_ops()), UserError) << kind << " in " << program.sections[s].name;
      ++removed;
    }
  }
  EXPECT_GT(removed, 20);
}

TEST(ProgramText, TwoBuffersAtOneAddressAreRejected) {
  Program program = place(add_cpu_workspaces(parse(decided_programs()[0]), test_ops(), {2}));
  program.buffer(program.find("d.x")).offset_bytes = program.buffer(program.find("d.sum")).offset_bytes;
  EXPECT_THROW(verify(program, test_ops()), UserError);
}

// What a section of these ops over these buffers is refused for; empty when it is accepted.
std::string refusal(const std::string& ops) {
  const std::string buffers =
      "centavo 1\nbuffer c i64[1] control persistent\nbuffer a f32[4, 4] stream_in\n"
      "buffer w f32[4, 4] parameter persistent\nbuffer wide f64[4, 4] parameter persistent\n"
      "buffer x f32[4, 4] activation\nbuffer y f32[4, 4] activation\nbuffer out f32[4, 4] stream_out ring=c/2\n"
      "buffer big f32[8, 4] activation\nbuffer low f32[4, 4] activation view=big+0\n"
      "buffer shifted f32[4, 4] activation view=big+4\nsection s\n";
  try {
    verify(parse(buffers + ops + "step s\n"), test_ops());
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(ProgramText, VerifyRefuses) {
  using ::testing::HasSubstr;
  EXPECT_EQ(refusal("%1 x = add(a, a)\n%2 x = add(x, a)\n"), "");
  EXPECT_THAT(refusal("%1 x = add(a, a)\n%2 x = linear(x, w) scale=1.0\n"), HasSubstr("'y' overlaps an input"));
  EXPECT_THAT(refusal("%1 low = add(a, a)\n%2 shifted = add(low, low)\n"), HasSubstr("'c' overlaps an input"));
  EXPECT_THAT(refusal("%1 x = linear(a, wide) scale=1.0\n"), HasSubstr("f64 goes with f64 only"));
  EXPECT_THAT(refusal("%1 x = add(a, a)\n%2 x = add(a, w) | of=%1\n"), HasSubstr("it replays %1"));
  EXPECT_THAT(refusal("%1 x = add(a, a) | of=%7\n"), HasSubstr("it replays %7"));
  EXPECT_THAT(refusal("%1 out = add(a, a)\n%2 c = advance(c)\n%3 x = add(out, a)\n"), HasSubstr("out is read before"));
  EXPECT_THAT(refusal("%1 x = rope(a, a) heads=9223372036854775806 kv_heads=1\n"), HasSubstr("fit into 4 columns"));
  EXPECT_THAT(refusal("%1 +x = linear(a, w) scale=1.0\n"), HasSubstr("x is read before anything wrote it"));
}

TEST(ProgramText, SizesBeyondMemoryAreRefused) {
  EXPECT_THROW(
      verify(parse("centavo 1\nbuffer x f32[4294967296, 4294967296] activation\nsection s\nstep s\n"), test_ops()),
      UserError);
  EXPECT_THROW(parse("centavo 1\nsection s\n%4294967297 x = add(x, x)\nstep s\n"), UserError);
  EXPECT_THROW(verify(parse("centavo 1\nbuffer p f32[4] activation\nbuffer x f32[2] activation "
                            "view=p+9223372036854775806\nsection s\nstep s\n"),
                      test_ops()),
               UserError);
}

TEST(ProgramText, EveryPassPrintsBackTheSame) {
  const RunConfig config = micro_run(fresh_directory("text"), {"grad_accum_steps=3", "precision=bf16"});
  for (const std::string& pass : pass_names()) {
    const Program program = training_program(test_ops(), config, 2, pass);
    const Program again = parse(print(program));
    EXPECT_EQ(again, program) << pass;
    EXPECT_EQ(print(again), print(program)) << pass;
    EXPECT_EQ(hash_of(again), hash_of(program)) << pass;
    EXPECT_NO_THROW(verify(program, test_ops())) << pass;
  }
}

std::string parse_error(const std::string& text) {
  try {
    parse(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(ProgramText, ErrorsNameTheLine) {
  EXPECT_EQ(parse_error("bogus"), "program line 1: the text must begin with 'centavo 1', not 'bogus '");
  EXPECT_EQ(parse_error("centavo 1\nbufer x f32[2] activation\n"),
            "program line 2: 'bufer' begins no line, did you mean buffer?");
  EXPECT_EQ(parse_error("centavo 1\nbuffer x f33[2] activation\n"), "program line 2: 'f33' is no dtype");
  EXPECT_EQ(parse_error("centavo 1\nbuffer x f32[2] activation\nsection s\n  %1 x = add(x, y)\nstep s\n"),
            "program line 4: buffer y is not declared above, did you mean x?");
  EXPECT_EQ(parse_error("centavo 1\nsection s\n"),
            "program line 2: the text has no 'step' line; end it with 'step SECTION …'");
}

}  // namespace
}  // namespace centavo::testing
