// How much memory a process may still take.
//
// The least of: MemAvailable of /proc/meminfo; the limit less the use of the process's cgroup (version 2) and of every
// group above it; RLIMIT_AS less the address space in use. A file that is absent limits nothing. Sources: proc(5),
// cgroups(7), getrlimit(2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace centavo {

int64_t available_memory_bytes();

// Of the text of /proc/meminfo or /proc/self/status: the field's kB as bytes.
std::optional<int64_t> kilobyte_field(const std::string& text, const std::string& field);

}  // namespace centavo
