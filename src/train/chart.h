// Line charts as HTML: an SVG stretched to the width of the page holds the lines, HTML beside it the labels, so that
// text and strokes keep their size on every screen. Classes are styled in report_page.h, whose script reads the values
// for the pointer back from the paths.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "train/chart_axis.h"

namespace centavo {

struct Point {
  double x = 0;
  double y = 0;  // not finite: a gap
  bool operator==(const Point&) const = default;
};

// At most `limit` points (at least 8), the same shape: of each stretch its lowest and highest point; the first and the
// last point stay. A stretch without a finite value becomes a gap. Unchanged when `points` fit.
std::vector<Point> downsample(const std::vector<Point>& points, size_t limit);

// For each point the mean of the finite values up to `reach` places around it, over fewer places near the ends; not
// finite where the point is not. Takes time with points x reach.
std::vector<Point> smooth(const std::vector<Point>& points, size_t reach);

enum class Mark { line, faint, dots };

struct Series {
  std::string name;
  std::string colour;  // class: "first", "second"
  Mark mark = Mark::line;
  std::vector<Point> points = {};  // x rises
};

struct Level {
  std::string name;
  double y = 0;
};

enum class YRange { fitted, from_zero };

struct Chart {
  std::string title;
  std::string unit = {};
  std::string x_unit = "step";
  Scale scale = Scale::linear;
  YRange range = YRange::fitted;
  std::vector<Series> series = {};
  std::vector<Level> levels = {};     // horizontal lines to compare with
  std::vector<double> resumes = {};   // x of vertical lines
  std::vector<double> failures = {};  // x where a value was not finite
  bool wide = false;
};

// Faint series may leave the range with one value in two hundred, so that one spike does not flatten the rest.
std::string chart_html(const Chart& chart);

}  // namespace centavo
