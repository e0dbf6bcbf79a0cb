#include "base/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <filesystem>

namespace centavo {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> folders_of_the_loader() {
  void* const program = ::dlopen(nullptr, RTLD_LAZY);
  Dl_serinfo size;
  if (program == nullptr || ::dlinfo(program, RTLD_DI_SERINFOSIZE, &size) != 0) return {};
  std::vector<Dl_serinfo> memory(size.dls_size / sizeof(Dl_serinfo) + 1);
  Dl_serinfo* const info = memory.data();
  info->dls_size = size.dls_size;
  info->dls_cnt = size.dls_cnt;
  if (::dlinfo(program, RTLD_DI_SERINFO, info) != 0) return {};
  std::vector<std::string> folders;
  for (const Dl_serpath* path = info->dls_serpath; path != info->dls_serpath + info->dls_cnt; ++path) {
    folders.emplace_back(path->dls_name);
  }
  return folders;
}

std::vector<std::string> folders_of_the_program() {
  std::error_code unreadable;
  const fs::path program = fs::read_symlink("/proc/self/exe", unreadable);
  if (unreadable) return {};
  return {program.parent_path().string(), (program.parent_path() / "lib").string()};
}

std::string path_of(void* handle, const std::string& otherwise) {
  const link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map->l_name == nullptr) return otherwise;
  return map->l_name;
}

int64_t version_in(void* handle, const LibraryWish& wish) {
  const auto version = reinterpret_cast<size_t (*)()>(::dlsym(handle, wish.version_of));
  return version == nullptr ? 0 : static_cast<int64_t>(version());
}

// What is wrong with a file; empty when it will do.
std::string refusal_of(const LibraryWish& wish, const std::string& candidate) {
  void* const handle = ::dlmopen(LM_ID_NEWLM, candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fmt::format("{} cannot be opened: {}", wish.name, ::dlerror());
  const std::function<void*(const char*)> find = [&](const char* name) { return ::dlsym(handle, name); };
  const std::string refusal = wish.refusal(version_in(handle, wish), find);
  ::dlclose(handle);
  return refusal.empty() ? refusal : fmt::format("{} ({})", refusal, candidate);
}

bool is_bare_name(const std::string& candidate) { return candidate.find('/') == candidate.npos; }

bool is_there(const std::string& candidate) {
  std::error_code unreadable;
  return is_bare_name(candidate) || fs::exists(candidate, unreadable);
}

}  // namespace

std::vector<std::string> library_candidates(const std::string& file_name,
                                            const std::vector<std::string>& more_folders) {
  std::vector<std::string> folders = folders_of_the_program();
  for (const std::string& folder : folders_of_the_loader()) folders.push_back(folder);
  std::vector<std::string> candidates;
  candidates.reserve(folders.size() + 1 + more_folders.size());
  for (const std::string& folder : folders) candidates.push_back((fs::path(folder) / file_name).string());
  candidates.push_back(file_name);
  for (const std::string& folder : more_folders) candidates.push_back((fs::path(folder) / file_name).string());
  return candidates;
}

void* OpenLibrary::find(const char* function) const { return ::dlsym(handle, function); }

OpenLibrary open_library(const LibraryWish& wish, const std::vector<std::string>& candidates) {
  OpenLibrary library;
  bool names_a_file = false;
  for (const std::string& candidate : candidates) {
    if (!is_there(candidate)) continue;
    std::string refusal = refusal_of(wish, candidate);
    if (refusal.empty()) {
      library.handle = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
      refusal = library.handle == nullptr ? fmt::format("{} cannot be opened: {}", wish.name, ::dlerror()) : "";
    }
    if (refusal.empty()) {
      library.path = path_of(library.handle, candidate);
      library.version = version_in(library.handle, wish);
      library.refusal.clear();
      return library;
    }
    // A file that will not do says more than the bare name that is not found.
    const bool is_a_file = !is_bare_name(candidate);
    if (library.refusal.empty() || (is_a_file && !names_a_file)) library.refusal = refusal;
    names_a_file = names_a_file || is_a_file;
  }
  return library;
}

}  // namespace centavo
