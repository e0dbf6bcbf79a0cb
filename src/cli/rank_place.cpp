#include "cli/rank_place.h"

#include <charconv>
#include <cstring>

#include "base/errors.h"

namespace centavo {
namespace {

int64_t number(const char* text) {
  int64_t value = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
  return value;
}

}  // namespace

std::optional<RankPlace> rank_place(const Variables& variable) {
  if (const char* size = variable("OMPI_COMM_WORLD_SIZE")) return RankPlace{"mpirun", number(size)};
  const int64_t tasks = number(variable("SLURM_STEP_NUM_TASKS"));  // srun's alone; a batch script has none
  if (variable("PMIX_RANK") != nullptr) return RankPlace{"srun", tasks};
  if (variable("PMI_RANK") != nullptr && variable("PMI_SIZE") != nullptr) {
    return RankPlace{"PMI", number(variable("PMI_SIZE"))};
  }
  if (tasks > 1) {
    user_error("srun started {} tasks that do not know of each other; use srun --mpi=pmix, or mpirun", tasks);
  }
  return {};
}

}  // namespace centavo
