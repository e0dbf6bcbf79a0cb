#include "data/document_batches.h"

#include <omp.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr size_t kBatchBytes = size_t{512} << 10;
constexpr size_t kSlotsPerThread = 4;
constexpr size_t kMostSlots = 128;

// Batches that are read, and then worked on, together. Buffers are kept, but for those of unusual size.
struct Group {
  std::vector<DocumentBatch> batches;
  size_t count = 0;

  void read(BatchReader& reader) {
    size_t bytes = 0;
    for (count = 0; count < batches.size() && bytes < kBatchBytes * batches.size(); ++count) {
      DocumentBatch& batch = batches[count];
      if (batch.text.capacity() > 4 * kBatchBytes) batch.text = std::string();
      reader.read(batch);
      if (batch.size() == 0) return;
      bytes += batch.text.size();
    }
  }
};

// An exception must not leave a parallel region, so it is carried out of it.
class Failures {
 public:
  explicit Failures(size_t count) : failures_(count) {}

  template <class F>
  void guard(size_t i, const F& f) {
    try {
      f();
    } catch (...) {
      failures_[i] = std::current_exception();
    }
  }
  void rethrow_first() const {
    for (const std::exception_ptr& failure : failures_) {
      if (failure) std::rethrow_exception(failure);
    }
  }

 private:
  std::vector<std::exception_ptr> failures_;
};

// Reading ahead is one more item of work, handed out first because nothing else can do it.
void process_and_read_ahead(Group& group, Group& ahead, BatchReader& reader, int threads, const BatchWork& work) {
  Failures failures(group.count + 1);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (size_t i = 0; i <= group.count; ++i) {
    if (i == 0) {
      failures.guard(group.count, [&] { ahead.read(reader); });
    } else {
      const auto thread = static_cast<size_t>(omp_get_thread_num());
      failures.guard(i - 1, [&] { work.process(group.batches[i - 1], i - 1, thread); });
    }
  }
  failures.rethrow_first();
}

}  // namespace

BatchReader::BatchReader(std::vector<Source> sources, int64_t sample_bytes)
    : sources_(std::move(sources)), sample_bytes_(sample_bytes) {
  for (const Source& source : sources_) total_bytes_ += source.size_bytes;
}

int64_t BatchReader::file_bytes() const { return finished_bytes_ + (reader_ ? reader_->file_bytes() : 0); }

std::optional<std::string_view> BatchReader::next() {
  while (hashes_.size() < sources_.size()) {
    if (!reader_) reader_.emplace(sources_[hashes_.size()]);
    if (const auto document = reader_->next()) return document;
    finished_bytes_ += reader_->file_bytes();
    hashes_.push_back(reader_->file_hash());
    reader_.reset();
  }
  return std::nullopt;
}

void BatchReader::read(DocumentBatch& batch) {
  batch.text.clear();
  batch.ends.clear();
  while (batch.text.size() < kBatchBytes) {
    const auto document = next();
    if (!document) break;
    batch.text += *document;
    batch.ends.push_back(batch.text.size());
  }
  const double share = static_cast<double>(file_bytes()) / static_cast<double>(std::max<int64_t>(total_bytes_, 1));
  batch.is_sampled = static_cast<double>(sampled_bytes_) < static_cast<double>(sample_bytes_) * share;
  if (batch.is_sampled) sampled_bytes_ += static_cast<int64_t>(batch.text.size());
}

size_t batch_slots(int threads) { return std::min(kSlotsPerThread * static_cast<size_t>(threads), kMostSlots); }

void for_each_batch(BatchReader& reader, int threads, const BatchWork& work) {
  CHECK(threads >= 1, "threads {}", threads);
  Group group = {std::vector<DocumentBatch>(batch_slots(threads))};
  Group ahead = group;
  group.read(reader);
  while (group.count > 0) {
    process_and_read_ahead(group, ahead, reader, threads, work);
    for (size_t slot = 0; slot < group.count; ++slot) work.finish(group.batches[slot], slot);
    std::swap(group, ahead);
  }
}

}  // namespace centavo
