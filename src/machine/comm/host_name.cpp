#include "machine/comm/host_name.h"

#include <unistd.h>

#include <array>

#include "base/errors.h"

namespace centavo {

std::string host_name() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) io_error("gethostname", "the host's name");
  return name.data();
}

}  // namespace centavo
