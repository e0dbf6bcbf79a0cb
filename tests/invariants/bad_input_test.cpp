// Whatever a user gets wrong ends in exit code 2, one line that says what and where, and untouched files.
//
// The program itself runs; every directory's name holds a space.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "machine/cuda/gpu.h"
#include "ops/cuda/kernels.h"
#include "tests/support/cuda_check.h"
#include "tests/support/process.h"
#include "tests/support/scoped_variable.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Strings = std::vector<std::string>;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Every file and directory below `root`, with its bytes.
std::map<std::string, std::string> snapshot(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    files[entry.path().string()] = entry.is_regular_file() ? read(entry.path()) : "directory";
  }
  return files;
}

std::string small_text() {
  std::string text;
  for (int i = 0; text.size() < 4096; ++i) {
    text += fmt::format("{} times {} is {}.\n{}", i, i + 1, i * (i + 1), i % 10 == 9 ? "<|endoftext|>" : "");
  }
  return text;
}

constexpr const char* kModel = R"(
[model]
vocab_size = 256
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 2
)";

class BadInput : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "bad input XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr) << name;
    dir_ = name;
    fs::create_directories(out());
    write(out() / "marker", "mine");
    write(dir_ / "text.txt", small_text());
    write(run_file(), run_text());
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path out() const { return dir_ / "out"; }
  std::string run_file() const { return dir_ / "run.toml"; }
  std::string path(const std::string& name) const { return dir_ / name; }
  std::string run_text() const {
    return fmt::format("text = \"{}\"\nout = \"{}\"\n", path("text.txt"), out().string()) +
           "device = \"cpu\"\nseq_len = 16\nmicro_batch = 2\nmax_steps = 4\nlearning_rate = 1e-3\n"
           "checkpoint_every = 1\nthreads = 1\n" +
           kModel;
  }

  // `says`: what the line must hold.
  void refused(const Strings& args, const Strings& says, int code = 2) {
    SCOPED_TRACE(fmt::format("centavo {}", fmt::join(args, " ")));
    const auto before = snapshot(dir_);
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.code, code);
    EXPECT_THAT(outcome.err, StartsWith("centavo: "));
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.err, EndsWith("\n"));
    for (const std::string& part : says) EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_TRUE(snapshot(dir_) == before) << "files were touched";
  }

  Strings train(const Strings& more = {}) const {
    Strings args = {"train", run_file()};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  void train_refused(const Strings& more, const Strings& says, int code = 2) { refused(train(more), says, code); }
  // An override that is refused and named.
  void override_refused(const std::string& text, const std::string& why) {
    train_refused({text}, {"override '" + text + "'", why});
  }
  void file_refused(const std::string& text, const Strings& says) {
    write(path("bad.toml"), text);
    refused({"train", path("bad.toml")}, says);
  }
  void program_refused(const std::string& text, Strings says) {
    write(path("bad.program"), text);
    says.push_back(path("bad.program") + ": ");
    refused({"program", path("bad.program")}, says);
  }
  void trained(const Strings& more = {}) {
    const Outcome outcome = run(train(more));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    ASSERT_EQ(outcome.err, "");
  }
  fs::path checkpoint(int step) const { return out() / fmt::format("checkpoints/step-{:08}", step); }

  fs::path dir_;
};

TEST_F(BadInput, AGoodRunSucceeds) {
  trained();
  EXPECT_EQ(read(out() / "marker"), "mine");
  EXPECT_TRUE(fs::exists(checkpoint(4) / "manifest.json"));
}

TEST_F(BadInput, Texts) {
  train_refused({"text=" + path("none.txt")}, {path("none.txt"), "No such file"});
  train_refused({"text=" + dir_.string()}, {out().string(), "lies inside", "name a place elsewhere"});
  write(path("empty.txt"), "");
  train_refused({"text=" + path("empty.txt")}, {path("empty.txt"), "there is no text", "give some"});
  write(path("short.txt"), "0123456789abcdef");
  train_refused({"text=" + path("short.txt")}, {"no document is left to train on", "give more documents"});
  train_refused({"text="}, {"no text", "add text=PATH or data=DIR"});
  file_refused(run_text().substr(run_text().find('\n') + 1), {"no text", "add text=PATH or data=DIR"});
}

TEST_F(BadInput, RunFiles) {
  refused({"train", path("none.toml")}, {path("none.toml"), "No such file"});
  refused({"train", dir_.string()}, {dir_.string(), "it is a directory"});
  file_refused("", {path("bad.toml"), "seq_len is missing"});
  file_refused("seq_len = 16\nmicro_batch = = 2\n", {path("bad.toml") + ":2: ", "not TOML"});
  file_refused("learning_rat = 1\n" + run_text(), {path("bad.toml") + ":1: ", "did you mean learning_rate?"});
  file_refused(run_text() + "head_dim = \"8\"\n", {path("bad.toml") + ":17: ", "model.head_dim must be an integer"});
}

TEST_F(BadInput, Values) {
  override_refused("learning_rat=1", "unknown key learning_rat, did you mean learning_rate?");
  override_refused("seq_len=sixteen", "seq_len must be an integer");
  override_refused("learning_rate=nan", "must be finite");
  override_refused("learning_rate=inf", "must be finite");
  override_refused("learning_rate=-1e-3", "at least 0");
  override_refused("precision=bf17", "did you mean bf16?");
  override_refused("max_steps", "key=value");
  train_refused({"seed=1\nseed=2"}, {"override 'seed=1\\x0aseed=2'", "an integer"});
}

TEST_F(BadInput, Shapes) {
  override_refused("model.hidden_size=17", "model.hidden_size 17 is not a multiple of model.num_attention_heads 2");
  override_refused("model.num_key_value_heads=3", "num_attention_heads 2 is not a multiple of");
  train_refused({"model.vocab_size=255"}, {"model.vocab_size is 255", "set model.vocab_size = 256 or more"});
  train_refused({"model.head_dim=258"}, {"heads of size 258 are larger than 256"});
}

TEST_F(BadInput, AnotherRunsDirectory) {
  train_refused({"--resume"}, {out().string(), "no checkpoint", "without --resume"});
  train_refused({"--resume", "out=" + path("nowhere")}, {path("nowhere"), "no checkpoint"});
  trained();
  train_refused({}, {out().string(), "earlier run", "centavo resume"});
  train_refused({"out=" + path("text.txt")}, {path("text.txt"), "Not a directory"}, 4);
}

TEST_F(BadInput, ResumeChangesMaxStepsAlone) {
  trained();
  train_refused({"--resume", "learning_rate=2e-3"}, {"step-00000004", "other values of learning_rate;"});
  train_refused({"--resume", "model.rope_theta=5", "seed=7"}, {"other values of seed, model.rope_theta;"});
  train_refused({"--resume", "max_steps=3"}, {"step-00000004", "beyond max_steps = 3"});
  write(path("text.txt"), small_text() + "more");  // the run has its tokens and does not look here again
  trained({"--resume", "max_steps=6"});
  EXPECT_TRUE(fs::exists(checkpoint(6) / "manifest.json"));
}

TEST_F(BadInput, DamagedCheckpoints) {
  trained({"keep_checkpoints=1"});
  for (const char* name : {"state-00000-of-00001.safetensors", "manifest.json", "config.toml", "program.txt"}) {
    const fs::path file = checkpoint(4) / name;
    const std::string intact = read(file);
    std::string flipped = intact;
    flipped[flipped.size() / 2] ^= 1;
    for (const std::string& damaged : {flipped, intact.substr(0, intact.size() / 2), std::string(), intact + '\n'}) {
      write(file, damaged);
      train_refused({"--resume", "keep_checkpoints=1", "max_steps=6"}, {file.string(), "is damaged"});
    }
    write(file, intact);
  }
  fs::remove(checkpoint(4) / "state-00000-of-00001.safetensors");
  train_refused({"--resume", "keep_checkpoints=1", "max_steps=6"},
                {(checkpoint(4) / "state-00000-of-00001.safetensors").string(), "No such file"});
}

TEST_F(BadInput, ADamagedNewestCheckpointGivesWayToTheOneBefore) {
  trained();
  write(checkpoint(4) / "state-00000-of-00001.safetensors", "x");
  const Outcome outcome = run({"resume", out().string(), "max_steps=6"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("step-00000004/state-00000-of-00001.safetensors is damaged"));
  EXPECT_THAT(outcome.out, HasSubstr("going on from " + checkpoint(3).string()));
  EXPECT_TRUE(fs::exists(checkpoint(6) / "manifest.json"));
}

TEST_F(BadInput, Resume) {
  refused({"resume", path("nowhere")}, {"there is no " + path("nowhere/config.toml"), "name the directory of a run"});
  trained();
  refused({"resume", out().string(), "seed=3"}, {"override 'seed=3'", "may change max_steps"});
  refused({"resume", out().string(), "max_steps=3"}, {"step-00000004", "beyond max_steps = 3"});
}

TEST_F(BadInput, Prices) {
  for (const char* price : {"0", "-1", "nan", "inf"}) {
    override_refused(fmt::format("price_per_hour={}", price), "price_per_hour must be");
  }
}

TEST_F(BadInput, TextsThatAreNone) {
  write(path("latin1.txt"), "gr\xfc\xdf");
  train_refused({"text=" + path("latin1.txt")}, {path("latin1.txt"), "UTF-8", "2"});
  write(path("binary.txt"), std::string("\x7f"
                                        "ELF\0\0",
                                        6));
  train_refused({"text=" + path("binary.txt")}, {path("binary.txt")});
  write(path("broken.jsonl"), "{\"text\": \"a\"}\n{\"text\": 3}\n");
  train_refused({"text=" + path("broken.jsonl")}, {path("broken.jsonl") + ":2"});
  train_refused({"model.vocab_size=100000"}, {"vocab"});
}

TEST_F(BadInput, MemoryBeyondTheMachine) {
  const Outcome outcome = run(train({"micro_batch=262144", "seq_len=4096", "model.max_position_embeddings=4096"}));
  EXPECT_EQ(outcome.code, 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("by region:"));
}

// Refused before the data is prepared: the disk holds nothing but its directory.
TEST_F(BadInput, OffloadBeyondTheDisk) {
  constexpr int kCannot = 77;
  const std::string script =
      "place=$1; shift; mount -t tmpfs -o size=64k none \"$place\" || exit 77; \"$@\"; code=$?; ls -A \"$place\"; exit "
      "$code";
  Strings words = {"unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", out().string(), program_path()};
  const Strings command = train({"offload=all", "micro_batch=64", "checkpoint_every=0"});
  words.insert(words.end(), command.begin(), command.end());
  const Outcome outcome = run(words, {.program = "/usr/bin/env"});
  if (outcome.code == kCannot || outcome.err.starts_with("unshare")) GTEST_SKIP() << outcome.err;
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, StartsWith("centavo: what is offloaded takes "));
  EXPECT_THAT(outcome.err, HasSubstr("of disk in " + out().string()));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(BadInput, ARefusedRunMakesNoDirectory) {
  write(path("empty.txt"), "");
  train_refused({"out=" + path("not/yet"), "text=" + path("empty.txt")}, {"there is no text"});
}

TEST_F(BadInput, ALossThatIsNotFinite) {
  trained({"learning_rate=1e30", "max_steps=1"});
  const auto before = snapshot(out() / "checkpoints");
  const Outcome outcome = run(train({"learning_rate=1e30", "--resume"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1);
  EXPECT_THAT(outcome.err, StartsWith("centavo: step 1: "));
  EXPECT_THAT(outcome.err, ContainsRegex("not finite: micro-batch 0, section [a-z]+: %[0-9]+ .* = [a-z_]+\\(.*\\)"));
  EXPECT_THAT(outcome.err, ContainsRegex("wrote it to [a-z0-9_.]+\\[[0-9]+\\]"));
  EXPECT_EQ(snapshot(out() / "checkpoints"), before);
  EXPECT_EQ(read(out() / "marker"), "mine");
}

constexpr const char* kBuffers =
    "centavo 1\n"
    "buffer x f32[4, 8] stream_in\n"
    "buffer h f32[4, 8] activation\n"
    "buffer w f32[16, 8] parameter persistent\n"
    "buffer y f32[4, 16] activation\n"
    "section only\n";

std::string with_op(const std::string& op) { return kBuffers + op + "\nstep only\n"; }

TEST_F(BadInput, ProgramTexts) {
  program_refused("", {"does not begin with 'centavo 1'"});
  program_refused("nonsense\n", {"program line 1: ", "'nonsense"});
  program_refused(with_op("  %1 y = linear(x, w scale=1.0"), {"program line 7: "});
  program_refused(with_op("  %1 y = linear(x, v) scale=1.0"), {"program line 7: ", "buffer v is not declared"});
  program_refused(std::string(kBuffers) + "step onyl\n", {"program line 7: ", "onyl"});
  program_refused(with_op("  %1 y = linear(h, w) scale=1.0"), {"%1 y = linear(h, w)", "h is read before"});
  program_refused(with_op("  %1 h = linear(x, w) scale=1.0"),
                  {"%1 h = linear(x, w)", "must be [4, 16]", "h is [4, 8]"});
  program_refused(with_op("  %1 y = lineer(x, w) scale=1.0"), {"no op 'lineer'", "did you mean linear?"});
  program_refused(with_op("  %1 y = linear(x, w) scale=1"), {"%1 y = linear(x, w)", "'scale' must be a real number"});
}

TEST_F(BadInput, ProgramCommand) {
  refused({"program", path("none.program")}, {path("none.program"), "No such file"});
  refused({"program", run_file(), "--after", "plase"}, {"no pass 'plase'", "did you mean place?"});
  write(path("good.program"), with_op("  %1 y = linear(x, w) scale=1.0"));
  EXPECT_EQ(run({"program", path("good.program")}).code, 0);
  refused({"program", path("good.program"), "--after", "forward"}, {path("good.program"), "leave out --after"});
  refused({"program", path("good.program"), "seed=1"}, {path("good.program"), "leave out seed=1"});
}

TEST_F(BadInput, ReportCommand) {
  refused({"report"}, {"RUN"});
  refused({"report", path("none")}, {path("none/metrics.jsonl"), "name the directory of a run"});
  write(dir_ / "metrics.jsonl", "{}\n");
  refused({"report", dir_.string()}, {path("metrics.jsonl:1"), "is damaged"});
}

// From a run to a model directory to text and a score; then what goes wrong with each.
TEST_F(BadInput, ModelCommands) {
  trained();
  const std::string model = path("model");
  EXPECT_EQ(run({"export", out(), model}).code, 0);
  const Outcome text = run({"generate", model, "--prompt", "1 times", "--max-tokens", "5", "--seed", "3"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, EndsWith("\n"));
  EXPECT_EQ(run({"generate", model, "--prompt", "1 times", "--max-tokens", "5", "--seed", "3"}).out, text.out);
  write(path("plain.txt"), std::string(3000, 'a'));
  const Outcome score = run({"eval", model, "--data", path("plain.txt")});
  EXPECT_EQ(score.code, 0) << score.err;
  EXPECT_THAT(score.out, ContainsRegex("^loss [0-9.]+ nats/token, [0-9.]+ bits/byte, "));

  const std::string sized = std::to_string(fs::file_size(path("plain.txt")) - 1);
  EXPECT_THAT(run({"eval", model, "--data", path("plain.txt"), "--json"}).out, HasSubstr("\"tokens\":" + sized));

  refused({"export", dir_, path("other")}, {"is no checkpoint and holds none"});
  refused({"export", out(), dir_}, {"which is no part of an export"});
  refused({"export", out(), path("other"), "--tokenizer", path("none.json")}, {path("none.json")});
  refused({"generate", path("none")}, {path("none") + " is not a directory"});
  refused({"generate", model}, {"the prompt is empty"});
  refused({"generate", model, "--prompt", "a", "--device", "gpu"}, {"--device"});
  refused({"generate", model, "--prompt", std::string(50, 'x')}, {"the prompt has 50 tokens", "context of 16"});
  refused({"generate", model, "--prompt", "a", "--top-p", "0"}, {"top-p is 0"});
  refused({"generate", model, "--prompt", "a", "--temperature", "nan"}, {"the temperature is nan"});
  refused({"generate", model, "--prompt", "a", "--max-tokens", "-1"}, {"--max-tokens"});
  refused({"eval", model, "--data", path("none.txt")}, {path("none.txt")});
  refused({"eval", model, "--data", path("text.txt"), "--seq-len", "17"}, {"--seq-len 17", "context of 16"});
  write(fs::path(model) / "config.json", "{\"model_type\": \"gemma\"}");
  refused({"generate", model, "--prompt", "a"}, {model + "/config.json: model_type is \"gemma\""});
}

TEST_F(BadInput, AGpuThatIsNotThere) {
  if (!built_with_cuda() || gpu_count() > 0) GTEST_SKIP() << "needs a build with CUDA and no GPU";
  const std::string says = "there is no NVIDIA GPU or no driver for it; look at nvidia-smi, or use device = \"cpu\"";
  train_refused({"device=cuda"}, {says}, 4);
  train_refused({"device=cuda", "--dry-run"}, {says}, 4);
  trained({"device=auto"});
}

// The driver's library is the one of tests/fake_libraries/cuda.cpp.
TEST_F(BadInput, ADriverThatIsTooOld) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  const ScopedVariable libraries("LD_LIBRARY_PATH", fake_library_folder("old_driver"));
  train_refused({"device=cuda"}, {"the NVIDIA driver supports CUDA 12.4 and this centavo was built with "}, 4);
  const Outcome automatic = run(train({"device=auto"}));
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.out, HasSubstr("\ndevice     the processor, because the NVIDIA driver supports CUDA 12.4 "));
}

using BadInputCuda = BadInput;

// The driver is told to take neither the code for this GPU nor what could be compiled for it.
TEST_F(BadInputCuda, AGpuThatThereIsNoCodeFor) {
  NEEDS_GPU();
  const ScopedVariable no_code("CUDA_FORCE_PTX_JIT", "1");
  const ScopedVariable no_compiler("CUDA_DISABLE_PTX_JIT", "1");
  train_refused({"device=cuda"}, {"this centavo has no code for ", "or use device = \"cpu\""}, 4);
  const Outcome automatic = run(train({"device=auto"}));
  EXPECT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_THAT(automatic.out, HasSubstr("\ndevice     the processor, because this centavo has no code for "));
}

// Refused by what the plan says, before anything is allocated or written.
TEST_F(BadInputCuda, AModelThatTheGpuHasNoRoomFor) {
  NEEDS_GPU();
  const auto before = snapshot(dir_);
  const Outcome outcome = run(train(
      {"device=cuda", "model.hidden_size=65536", "model.intermediate_size=262144", "model.num_attention_heads=512"}));
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.err, StartsWith("centavo: the run needs "));
  EXPECT_THAT(outcome.err, HasSubstr("use a smaller model"));
  EXPECT_TRUE(snapshot(dir_) == before) << "files were touched";
}

TEST_F(BadInputCuda, DoctorNamesTheGpuThatComputes) {
  NEEDS_GPU();
  const std::string name = open_gpu(0).name;
  EXPECT_THAT(run({"doctor"}).out, HasSubstr("\nwill use    " + name + "; device = \"cpu\" asks for the processor\n"));
  EXPECT_THAT(run({"doctor", "--json"}).out, HasSubstr("\"machine\": \"cuda\""));
}

TEST_F(BadInput, ATraceOfADebugRun) {
  train_refused({"--debug", "--trace", path("trace.json")}, {"--trace shows a step as it runs and --debug runs it op"});
}

TEST_F(BadInput, AGpuForSeveralRanks) {
  if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
  const std::string says = "device = \"cuda\" is for one rank so far and the run has 2; use one, or ";
  train_refused({"device=cuda", "grad_accum_steps=2", "--ranks", "2"}, {says});
  refused({"plan", run_file(), "device=cuda", "grad_accum_steps=2", "--ranks", "2"}, {says});
}

TEST_F(BadInput, DevicesThatAreNotThere) {
  if (built_with_cuda()) GTEST_SKIP() << "built with CUDA";
  const std::string says = "this centavo was built without CUDA; install the CUDA toolkit and build again, or use ";
  train_refused({"device=cuda"}, {says + "device = \"cpu\""});
  train_refused({"device=cuda", "--dry-run"}, {says});
  refused({"plan", run_file(), "device=cuda"}, {says});
  refused({"program", run_file(), "device=cuda"}, {says});
  trained();
  refused({"generate", path("out"), "--prompt", "a", "--device", "cuda"}, {says});
  refused({"eval", path("out"), "--data", path("text.txt"), "--device", "cuda"}, {says});
}

// A run that has no model yet says what makes one, in words that a shell takes.
TEST_F(BadInput, ModelCommandsOnARunWithoutAModel) {
  trained();
  fs::remove_all(out() / "model");
  const std::string run_dir = "'" + out().string() + "'";
  for (const char* command : {"generate", "eval"}) {
    Strings args = {command, out().string()};
    if (args[0] == "eval") args.insert(args.end(), {"--data", path("text.txt")});
    refused(args, {"has not ended", "centavo resume " + run_dir, "centavo export " + run_dir + " DIR"});
    args[1] = checkpoint(4).string();
    refused(args, {"is a checkpoint", "centavo export '" + checkpoint(4).string() + "' DIR"});
  }
  fs::remove_all(out() / "checkpoints");
  refused({"generate", out().string()}, {"before its first checkpoint", "centavo resume " + run_dir});
}

// Nothing gives such a run a model, so nothing is named that would.
TEST_F(BadInput, ModelCommandsOnAModelThatIsNotExported) {
  trained({"model.norm=layernorm"});
  for (const std::string& directory : {out().string(), checkpoint(4).string()}) {
    refused({"generate", directory}, {"no Hugging Face model has layernorm, swiglu and rope positions together"});
  }
  refused({"eval", out().string(), "--data", path("text.txt")}, {"a model that no export writes"});
}

TEST_F(BadInput, TheCommandOnRecordCanBePastedIntoAShell) {
  const std::string elsewhere = path("it's out");
  trained({"out=" + elsewhere, "sample_prompt=a b"});
  EXPECT_THAT(read(fs::path(elsewhere) / "run.json"),
              HasSubstr(fmt::format("\"command\": \"centavo train '{}' 'out={}/it'\\\\''s out' 'sample_prompt=a b'\"",
                                    run_file(), dir_.string())));
}

TEST_F(BadInput, DryRuns) {
  train_refused({"--dry-run", "text=" + path("none.txt")}, {path("none.txt"), "No such file"});
  train_refused({"--dry-run", "text=", "data=" + path("none")}, {path("none")});
  const auto before = snapshot(dir_);
  const Outcome outcome = run(train({"--dry-run"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("data       0.00 MB in 1 file of " + path("text.txt")));
  EXPECT_TRUE(snapshot(dir_) == before) << "files were touched";
}

TEST_F(BadInput, DoctorAlwaysAnswers) {
  const std::string text = run({"doctor"}).out;
  EXPECT_THAT(text, HasSubstr("\nwill use"));
  EXPECT_THAT(text, HasSubstr(built_with_cuda() ? "            for NVIDIA GPUs\n"
                                                : "            without CUDA, so for no GPU\n"));
  const Outcome json = run({"doctor", "--json"});
  EXPECT_EQ(json.code, 0) << json.err;
  EXPECT_THAT(json.out, StartsWith("{\n  \"format\": 1,"));
}

TEST_F(BadInput, CommandLines) {
  refused({}, {"subcommand is required", "--help"});
  refused({"tran"}, {"no command 'tran', did you mean train?"});
  refused({"train"}, {"RUN.toml is required"});
  refused(train({"--resum"}), {"--resum", "see centavo train --help"});
  refused({"train", run_file(), "--max_steps", "3"}, {"--max_steps", "keys are written key=value, without dashes"});
  refused({"data", "build", path("text.txt"), "--vocab-size", "300"}, {"--out", "see centavo data build --help"});
  refused({"program", run_file(), "--after"}, {"--after"});
  for (const Strings& args : {Strings{"--help"}, {"train", "--help"}, {"program", "--help"}, {"--version"}}) {
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_THAT(outcome.out, HasSubstr("centavo"));
  }
}

}  // namespace
}  // namespace centavo::testing
