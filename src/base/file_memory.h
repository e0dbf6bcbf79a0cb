// Writable memory whose pages the system may put on disk: a mapped file without a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace centavo {

// Maps `bytes` zeros, shared, in a new file in `directory`; the caller unmaps (munmap) what it gets. The file loses its
// name before it is used, so nothing is left behind, also after a crash. All of its disk blocks are taken here: a full
// disk is an error now, not a SIGBUS at a later store. Throws OutOfMemory when the directory's disk has no room for it,
// UserError when no file can be made in the directory, IoError for what else fails.
std::byte* map_file_memory(const std::string& directory, int64_t bytes);

}  // namespace centavo
