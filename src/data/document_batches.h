// The documents of many sources in batches, and the loop that works on batches in parallel.
//
// How documents fall into batches depends on the sources alone. A batch holds some hundred KiB, or one longer document.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/documents.h"
#include "data/sources.h"

namespace centavo {

struct DocumentBatch {
  std::string text;          // documents end to end
  std::vector<size_t> ends;  // of each, in `text`
  bool is_sampled = false;   // see BatchReader

  size_t size() const { return ends.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
};

class BatchReader {
 public:
  // Batches of about `sample_bytes` of text in all, spread evenly over the files, are marked as sampled; of less text,
  // about all.
  BatchReader(std::vector<Source> sources, int64_t sample_bytes);

  // Replaces `batch` by the next one, which is empty at the end.
  void read(DocumentBatch& batch);

  // Bytes of the files read so far, and in all.
  int64_t file_bytes() const;
  int64_t total_bytes() const { return total_bytes_; }
  // XXH3-64 of every file, in order; complete at the end.
  const std::vector<uint64_t>& file_hashes() const { return hashes_; }

 private:
  // The next document of any source.
  std::optional<std::string_view> next();

  std::vector<Source> sources_;
  int64_t sample_bytes_;
  int64_t sampled_bytes_ = 0;
  int64_t total_bytes_ = 0;
  int64_t finished_bytes_ = 0;  // of the sources that are done
  std::optional<DocumentReader> reader_;
  std::vector<uint64_t> hashes_;
};

struct BatchWork {
  // Called for many batches at once, never for one `slot` or one `thread` at the same time.
  std::function<void(const DocumentBatch&, size_t slot, size_t thread)> process;
  // Called for every batch in order, after process() with the same slot; nothing runs beside it.
  std::function<void(const DocumentBatch&, size_t slot)> finish;
};

// Slots that for_each_batch uses at most.
size_t batch_slots(int threads);

// Reads all batches and works on them with `threads` threads, reading ahead meanwhile. Memory: the text of two times
// batch_slots(threads) batches. Of several failures the first in the order of batches is thrown, a failed read last.
void for_each_batch(BatchReader& reader, int threads, const BatchWork& work);

}  // namespace centavo
