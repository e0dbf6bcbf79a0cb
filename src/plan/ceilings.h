// What a machine can do at most: rates that nothing in a program is expected to beat.
#pragma once

namespace centavo {

// Bytes a second, read and written, of a copy between two arrays of 256 MiB on `threads` threads; the best of half a
// second.
double measured_copy_rate(int threads);

}  // namespace centavo
