#include "train/version.h"

#ifndef CENTAVO_COMMIT
#define CENTAVO_COMMIT "unknown"
#endif

namespace centavo {

const char* const kCommit = CENTAVO_COMMIT;

}  // namespace centavo
