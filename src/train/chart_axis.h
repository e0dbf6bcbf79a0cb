// The axes of a chart: where it begins and ends, its ticks and their labels.
#pragma once

#include <string>
#include <vector>

namespace centavo {

enum class Scale { linear, logarithmic };

// A range that begins and ends at a tick (logarithmic: near one), low < high.
struct Axis {
  double low = 0;
  double high = 1;
  std::vector<double> ticks;
};

// Ticks at multiples of 1, 2 or 5 times a power of ten, about `wanted` of them, covering [low, high].
Axis linear_axis(double low, double high, int wanted);
// The same ticks, but the range stays [low, high] and ticks outside are left out.
Axis exact_axis(double low, double high, int wanted);
// For low > 0: ticks at powers of ten, and at 2 and 5 times them when there are few.
Axis logarithmic_axis(double low, double high);

// Equally many decimals for all: "0.5", "1.0"; thousands and above as "20 k". Below 0.01 a power of ten is taken out:
// {3e-4} gives "3" and the factor "×10⁻⁴".
struct TickLabels {
  std::vector<std::string> texts;
  std::string factor;
};
TickLabels tick_labels(const Axis& axis, Scale scale);

// Where `value` lies between low (0) and high (1); beyond them for values outside.
double position(const Axis& axis, Scale scale, double value);

}  // namespace centavo
