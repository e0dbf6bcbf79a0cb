#include "cli/model_argument.h"

#include <filesystem>

namespace centavo {

std::string model_path(const std::string& directory) {
  const std::string inside = directory + "/model";
  const bool is_run =
      !std::filesystem::exists(directory + "/config.json") && std::filesystem::exists(inside + "/config.json");
  return is_run ? inside : directory;
}

}  // namespace centavo
