// Is this process one of several ranks? The one place that reads what mpirun and srun put into the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace centavo {

// The value of an environment variable, or null.
using Variables = std::function<const char*(const char*)>;

struct RankPlace {
  std::string launcher;  // for messages
  int64_t ranks = 0;     // how many were started; 0: the launcher does not say
};

// Nothing for a process that stands for itself. mpirun (Open MPI) sets OMPI_COMM_WORLD_SIZE, srun --mpi=pmix sets
// PMIX_RANK, launchers that speak PMI set PMI_RANK and PMI_SIZE. UserError for srun with several tasks and none of
// these: each task would be a run of its own.
std::optional<RankPlace> rank_place(const Variables& variable);

}  // namespace centavo
