// centavo doctor [--json]

#include <dnnl.h>
#include <fmt/ranges.h>
#include <simdjson.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/gpus.h"
#include "base/host.h"
#include "base/json.h"
#include "cli/commands.h"
#include "machine/cpu/cpu_machine.h"
#include "machine/cuda/gpu.h"
#include "machine/gpu_libraries.h"
#include "ops/cuda/kernels.h"
#include "train/units.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

struct Named {
  std::string name;
  std::string value;
};

// What the compiler was told this program may use, in /proc/cpuinfo's words.
std::vector<std::string> built_features() {
  std::vector<std::string> names;
#ifdef __AVX2__
  names.emplace_back("avx2");
#endif
#ifdef __FMA__
  names.emplace_back("fma");
#endif
#ifdef __AVX512F__
  names.emplace_back("avx512f");
#endif
#ifdef __AVX512BW__
  names.emplace_back("avx512bw");
#endif
#ifdef __AVX512BF16__
  names.emplace_back("avx512_bf16");
#endif
  return names;
}

std::string dotted(int64_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string onednn_instructions() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "SSE4.1";
    case dnnl_cpu_isa_avx: return "AVX";
    case dnnl_cpu_isa_avx2: return "AVX2";
    case dnnl_cpu_isa_avx2_vnni: return "AVX2 with VNNI";
    case dnnl_cpu_isa_avx512_core: return "AVX-512";
    case dnnl_cpu_isa_avx512_core_vnni: return "AVX-512 with VNNI";
    case dnnl_cpu_isa_avx512_core_bf16: return "AVX-512 with BF16";
    case dnnl_cpu_isa_avx512_core_amx: return "AMX";
    default: return fmt::format("instruction set {:#x}", static_cast<int>(dnnl_get_effective_cpu_isa()));
  }
}

std::vector<Named> libraries() {
  return {{"oneDNN", onednn_version()},
          {"OpenMP", _OPENMP >= 201811 ? "5.0" : "4.5"},
          {"zstd", ZSTD_versionString()},
          {"zlib", zlibVersion()},
          {"simdjson", fmt::format("{}.{}.{}", static_cast<int>(simdjson::SIMDJSON_VERSION_MAJOR),
                                   static_cast<int>(simdjson::SIMDJSON_VERSION_MINOR),
                                   static_cast<int>(simdjson::SIMDJSON_VERSION_REVISION))},
          {"fmt", dotted(FMT_VERSION)}};
}

struct Report {
  CpuFacts cpu;
  MemoryFacts memory;
  GpuFacts gpus;
  std::string nvidia_smi;
  std::string directory;
  int64_t free_disk_bytes = 0;
  int threads = 0;
  std::vector<std::string> built;
  std::vector<Named> libraries;
  bool built_with_cuda = false;
  std::string gpu_trouble;  // why a GPU that is there cannot be used
  std::vector<GpuLibrary> gpu_libraries;

  bool computes_on_gpu() const { return built_with_cuda && !gpus.gpus.empty() && gpu_trouble.empty(); }
};

Report examine() {
  const char* path = std::getenv("PATH");
  const std::string here = std::filesystem::current_path().string();
  return {.cpu = cpu_facts(),
          .memory = memory_facts(),
          .gpus = gpu_facts(),
          .nvidia_smi = find_program("nvidia-smi", path == nullptr ? "" : path),
          .directory = here,
          .free_disk_bytes = free_disk_bytes(here),
          .threads = CpuMachine::thread_count(0),
          .built = built_features(),
          .libraries = libraries(),
          .built_with_cuda = built_with_cuda(),
          .gpu_trouble = gpu_trouble(),
          .gpu_libraries = gpu_libraries()};
}

bool has(const std::vector<std::string>& names, const std::string& name) { return std::ranges::count(names, name) > 0; }

std::vector<std::string> lacking(const CpuFacts& cpu) {
  std::vector<std::string> names;
  for (const std::string& name : known_cpu_features()) {
    if (!has(cpu.features, name)) names.push_back(name);
  }
  return names;
}

void advise_on_gpus(const Report& report, std::vector<std::string>& advice) {
  const GpuFacts& gpus = report.gpus;
  if (!gpus.gpus.empty() && !report.built_with_cuda) {
    advice.emplace_back(
        "This centavo was built without CUDA and the GPU stays idle; install the CUDA toolkit and build again.");
  } else if (!gpus.gpus.empty() && !report.gpu_trouble.empty()) {
    advice.push_back(fmt::format("The GPU stays idle: {}.", report.gpu_trouble));
  } else if (!gpus.gpus.empty()) {
    return;
  } else if (gpus.has_library && !gpus.failure.empty()) {
    advice.push_back(
        fmt::format("The NVIDIA driver's library names no GPU ({}); restart the machine if the driver was "
                    "just installed, or start the container with --gpus all.",
                    gpus.failure));
  } else if (!gpus.driver_version.empty()) {
    advice.emplace_back(
        "The NVIDIA driver runs but libcuda.so.1 is missing; install libcuda1 of the same version, or "
        "start the container with --gpus all.");
  } else {
    advice.emplace_back(
        "There is no NVIDIA driver; with a GPU install one from NVIDIA's repository, 580 or newer for CUDA 13.");
  }
}

void advise_on_processor(const Report& report, std::vector<std::string>& advice) {
  const CpuFacts& cpu = report.cpu;
  if (cpu.quota && *cpu.quota < static_cast<double>(report.threads)) {
    const auto threads = std::max<int64_t>(1, static_cast<int64_t>(*cpu.quota));
    advice.push_back(fmt::format("A cgroup grants the time of {} processors to {} threads; train with threads={}.",
                                 *cpu.quota, report.threads, threads));
  }
  if (has(cpu.features, "avx512f") && !has(report.built, "avx512f")) {
    advice.emplace_back("This build leaves AVX-512 unused; configure with -DCENTAVO_MARCH=native and build again.");
  }
  if (!has(cpu.features, "avx512_bf16") && !has(cpu.features, "amx_bf16")) {
    advice.emplace_back("This processor has no bf16 instructions; precision=bf16 saves memory here but no time.");
  }
}

void advise_on_space(const Report& report, std::vector<std::string>& advice) {
  constexpr int64_t kLittle = int64_t{1} << 30;
  const int64_t memory =
      std::min(report.memory.available_bytes, report.memory.limit_bytes.value_or(report.memory.available_bytes));
  if (memory < kLittle) {
    advice.push_back(
        fmt::format("Only {} of memory can be had; close other programs or raise the limit.", bytes_text(memory)));
  }
  if (report.free_disk_bytes < kLittle) {
    advice.push_back(fmt::format("Only {} of disk space are free here; free some, or write elsewhere with out=DIR.",
                                 bytes_text(report.free_disk_bytes)));
  }
}

std::vector<std::string> advice_on(const Report& report) {
  std::vector<std::string> advice;
  advise_on_processor(report, advice);
  advise_on_space(report, advice);
  advise_on_gpus(report, advice);
  return advice;
}

std::string uses(const Report& report) {
  if (report.computes_on_gpu()) return report.gpus.gpus.front().name + "; device = \"cpu\" asks for the processor";
  return fmt::format("{} threads; matrix products by oneDNN with {}", report.threads, onednn_instructions());
}

ordered_json to_json(const Report& report) {
  const auto optional = [](const auto& value) { return value ? ordered_json(*value) : ordered_json(); };
  ordered_json j;
  j["format"] = 1;
  j["cpu"] = {{"model", report.cpu.model},
              {"features", report.cpu.features},
              {"lacking", lacking(report.cpu)},
              {"processors", report.cpu.online},
              {"usable_processors", report.cpu.usable},
              {"cgroup_quota", optional(report.cpu.quota)}};
  j["memory"] = {{"total_bytes", report.memory.total_bytes},
                 {"available_bytes", report.memory.available_bytes},
                 {"cgroup_limit_bytes", optional(report.memory.limit_bytes)}};
  j["disk"] = {{"directory", report.directory}, {"free_bytes", report.free_disk_bytes}};
  j["nvidia"] = {{"driver", report.gpus.driver_version}, {"kernel_gpus", report.gpus.kernel_gpus},
                 {"libcuda", report.gpus.has_library},   {"cuda", report.gpus.cuda_version},
                 {"nvidia_smi", report.nvidia_smi},      {"failure", report.gpus.failure},
                 {"gpus", ordered_json::array()}};
  for (const DriverGpu& gpu : report.gpus.gpus) {
    j["nvidia"]["gpus"].push_back({{"name", gpu.name},
                                   {"memory_bytes", gpu.memory_bytes},
                                   {"compute_capability", fmt::format("{}.{}", gpu.compute_major, gpu.compute_minor)}});
  }
  for (const GpuLibrary& library : report.gpu_libraries) {
    j["nvidia"]["libraries"][library.name] = {
        {"version", library.version}, {"path", library.path}, {"failure", library.refusal}};
  }
  j["build"] = {{"features", report.built}, {"cuda", report.built_with_cuda}};
  for (const Named& library : report.libraries) j["build"]["libraries"][library.name] = library.value;
  j["uses"] = {{"machine", report.computes_on_gpu() ? "cuda" : "cpu"},
               {"threads", report.threads},
               {"onednn", onednn_instructions()}};
  j["advice"] = advice_on(report);
  return j;
}

// Lines "label  value"; a label that repeats is left out.
class Table {
 public:
  void add(const std::string& label, const std::string& value) {
    text_ += fmt::format("{:<12}{}\n", label == last_ ? "" : label, value);
    last_ = label;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string last_;
};

void add_gpus(Table& table, const Report& report) {
  const GpuFacts& gpus = report.gpus;
  for (const DriverGpu& gpu : gpus.gpus) {
    table.add("gpu", fmt::format("{}, {}, compute capability {}.{}", gpu.name, bytes_text(gpu.memory_bytes),
                                 gpu.compute_major, gpu.compute_minor));
  }
  if (gpus.gpus.empty()) table.add("gpu", "none found");
  if (!gpus.driver_version.empty()) table.add("driver", "NVIDIA " + gpus.driver_version);
  if (!gpus.cuda_version.empty()) table.add("driver", "CUDA up to " + gpus.cuda_version);
  if (!report.nvidia_smi.empty()) table.add("driver", report.nvidia_smi);
  for (const GpuLibrary& library : report.gpu_libraries) {
    const bool found = library.refusal.empty();
    table.add("libraries", found ? fmt::format("{} {} in {}", library.name, library.version, library.path)
                                 : fmt::format("no {}: {}", library.name, library.refusal));
  }
}

std::string in_words(const Report& report) {
  Table table;
  const CpuFacts& cpu = report.cpu;
  const std::vector<std::string> lacks = lacking(cpu);
  table.add("processor", cpu.model.empty() ? "unknown" : cpu.model);
  table.add("processor", fmt::format("has {}", fmt::join(cpu.features, " ")));
  if (!lacks.empty()) table.add("processor", fmt::format("lacks {}", fmt::join(lacks, " ")));
  table.add("processor", fmt::format("{} of {} processors usable", cpu.usable, cpu.online) +
                             (cpu.quota ? fmt::format(", with the time of {} by a cgroup", *cpu.quota) : ""));
  table.add("memory", fmt::format("{}, {} available", bytes_text(report.memory.total_bytes),
                                  bytes_text(report.memory.available_bytes)) +
                          (report.memory.limit_bytes
                               ? fmt::format(", limited to {} by a cgroup", bytes_text(*report.memory.limit_bytes))
                               : ""));
  table.add("disk", fmt::format("{} free in {}", bytes_text(report.free_disk_bytes), report.directory));
  add_gpus(table, report);
  table.add("built", fmt::format("for {}", fmt::join(report.built, " ")));
  table.add("built", report.built_with_cuda ? "for NVIDIA GPUs" : "without CUDA, so for no GPU");
  for (const Named& library : report.libraries) table.add("built", "with " + library.name + " " + library.value);
  table.add("will use", uses(report));
  for (const std::string& sentence : advice_on(report)) table.add("note", sentence);
  return table.text();
}

void doctor(bool json) {
  const Report report = examine();
  const std::string text = json ? json_text(to_json(report), 2) + "\n" : in_words(report);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    io_error("write", "the standard output");
  }
}

}  // namespace

Registered register_doctor(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "Say what this machine offers and what centavo will use of it");
  command->add_flag("--json", *json, "For programs: one JSON object");
  command->footer("Looks only: starts no computation, writes no file, needs no rights.");
  return {command, [json] { doctor(*json); }};
}

}  // namespace centavo
