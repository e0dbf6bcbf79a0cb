// A run's scalars and samples as a TensorBoard event file.
//
//   file    OUT/events.out.tfevents.<unix seconds>.<host>, a new one each start
//   record  u64 length, u32 masked CRC-32C of those 8 bytes, payload, u32 masked CRC-32C of the payload; little-endian.
//           masked(c) = (c rotated right by 15) + 0xa282ead8
//   payload a protobuf Event: 1 wall_time (double), 2 step (int64), then one of 3 file_version, 5 summary,
//           7 session_log. The first record is the file version "brain.Event:2"; a session log START at step S + 1
//           tells readers to forget what an earlier file says of steps beyond S.
//
// Tags: train/loss, train/lr, train/grad_norm, train/tokens_per_second, validation/loss, validation/bits_per_byte as
// scalars, sample as text. A record is appended with one write; readers skip a torn last one.
//
// Errors: IoError when a write fails. Source: TensorFlow's record_writer.cc, event.proto and summary.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "train/metrics_log.h"

namespace centavo {

struct Scalar {
  std::string tag;
  double value = 0;
};

// Whole records, length and checks included.
std::string file_version_event(double wall_time);
std::string session_start_event(double wall_time, int64_t step);
std::string scalars_event(double wall_time, int64_t step, const std::vector<Scalar>& scalars);
std::string text_event(double wall_time, int64_t step, std::string_view tag, std::string_view text);

class EventLog {
 public:
  // A new event file in the existing directory `dir`, for a run that has finished `steps_done` steps.
  EventLog(const std::string& dir, int64_t steps_done);

  void step(const StepRecord& record);
  void validation(const ValidationRecord& record);
  void sample(const SampleRecord& record);

  const std::string& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace centavo
