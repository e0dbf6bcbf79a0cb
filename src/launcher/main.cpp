// bin/centavo of a folder made by ./package: runs the program that was compiled for this processor.
//
// libexec/centavo/LEVEL/centavo, LEVEL the highest of x86-64-v4 (AVX-512) and x86-64-v3 (AVX2, FMA) that the processor
// has. Compiled for any x86-64, so that it can say what is missing.
#include <linux/limits.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace {

const char* level_of_processor() {
  if (__builtin_cpu_supports("x86-64-v4") != 0) return "x86-64-v4";
  return __builtin_cpu_supports("x86-64-v3") != 0 ? "x86-64-v3" : nullptr;
}

// The folder above the one this program lies in.
std::string installed_root() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, length > 0 ? static_cast<size_t>(length) : 0);
  return self.substr(0, self.rfind("/bin/"));
}

}  // namespace

int main(int, char** argv) {
  const char* level = level_of_processor();
  if (level == nullptr) {
    std::fputs("centavo: this processor lacks AVX2 or FMA (x86-64-v3); use a computer from 2015 or later\n", stderr);
    return 4;
  }
  const std::string program = installed_root() + "/libexec/centavo/" + level + "/centavo";
  execv(program.c_str(), argv);
  std::fprintf(stderr, "centavo: %s cannot be run; make the folder again with ./package\n", program.c_str());
  return 4;
}
