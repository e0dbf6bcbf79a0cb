#include <algorithm>
#include <cmath>

#include "machine/virtual/profile.h"

namespace centavo {
namespace {

constexpr size_t kNeighbours = 6;

// For an op without a sample: on processors most ops reach about a third of their floor, on GPUs four fifths.
double unknown_factor(DeviceKind device) { return device == DeviceKind::cuda ? 1.25 : 3; }

// Ops that the floor says nothing of (counters) take this long; on a GPU it is a launch.
double least_floor(DeviceKind device) { return device == DeviceKind::cuda ? 2e-6 : 1e-7; }

struct Neighbour {
  double distance = 0;  // squared
  double log_share = 0;
};

double log_ratio(double a, double b) { return std::log1p(a) - std::log1p(b); }

// Between the logarithms of extents: the mean square, so that an extent that stands in several operands counts as often
// for all ops of a signature.
double distance_between(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = log_ratio(static_cast<double>(a[i]), static_cast<double>(b[i]));
    sum += d * d;
  }
  return sum / static_cast<double>(std::max<size_t>(a.size(), 1));
}

// An op's share of its floor follows its work as much as its shape.
double work_distance(double floor_a, double floor_b) {
  const double d = std::log(floor_a / floor_b);
  return d * d;
}

double mean_log_share(std::vector<Neighbour> all) {
  const size_t count = std::min(kNeighbours, all.size());
  const auto nearer = [](const Neighbour& a, const Neighbour& b) { return a.distance < b.distance; };
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(), nearer);
  double sum = 0;
  double weights = 0;
  for (size_t i = 0; i < count; ++i) {
    if (all[i].distance == 0) return all[i].log_share;
    const double weight = 1 / all[i].distance;
    sum += weight * all[i].log_share;
    weights += weight;
  }
  return sum / weights;
}

}  // namespace

OpCosts::OpCosts(Profile profile) : profile_(std::move(profile)) {
  for (size_t i = 0; i < profile_.samples.size(); ++i) by_signature_.emplace(profile_.samples[i].signature, i);
}

double OpCosts::floor_of(const OpCase& op) const {
  return std::max(profile_.floor_seconds(op), least_floor(profile_.device));
}

double OpCosts::seconds(const OpCase& op) {
  const auto [known, is_new] = known_.try_emplace({op.signature, op.extents}, 0);
  if (is_new) known->second = computed(op);
  return known->second;
}

double OpCosts::computed(const OpCase& op) {
  std::vector<Neighbour> neighbours;
  const auto [begin, end] = by_signature_.equal_range(op.signature);
  for (auto it = begin; it != end; ++it) {
    const OpSample& sample = profile_.samples[it->second];
    if (sample.extents.size() != op.extents.size()) continue;
    const double floor = floor_of({sample.signature, sample.extents, {.flops = sample.flops, .bytes = sample.bytes}});
    const double distance = distance_between(sample.extents, op.extents) + work_distance(floor, floor_of(op));
    neighbours.push_back({distance, std::log(sample.seconds / floor)});
  }
  if (neighbours.empty()) {
    if (std::ranges::find(unknown_, op.signature) == unknown_.end()) unknown_.push_back(op.signature);
    return unknown_factor(profile_.device) * floor_of(op);
  }
  return floor_of(op) * std::exp(mean_log_share(std::move(neighbours)));
}

}  // namespace centavo
