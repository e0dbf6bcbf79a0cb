// NVIDIA's libraries as a GPU run would find them.
#pragma once

#include <string>
#include <vector>

namespace centavo {

struct GpuLibrary {
  std::string name;     // "cuDNN"
  std::string version;  // "9.19"; empty where none will do
  std::string path;
  std::string refusal;  // why none will do
};

// Opens them, which needs no GPU; none in a build without CUDA.
std::vector<GpuLibrary> gpu_libraries();

}  // namespace centavo
