// The data of a run: a data directory that is named, or one made from the run's text in OUT/data.
#pragma once

#include <string>
#include <vector>

#include "data/corpus.h"
#include "train/progress.h"
#include "train/run_config.h"
#include "train/run_facts.h"

namespace centavo {

// `made`: a run that goes on takes the data it began with and does not look at the text again, if that is there.
enum class RunData : uint8_t { fresh, made };

// Prepares what is missing, with a line of progress, and opens it. UserError, beside those of data/corpus.h, when the
// tokenizer has more tokens than the model; a warning when it has fewer.
Corpus open_run_data(const RunConfig& config, RunData state, ProgressLog& progress);

// What a run would find, in lines, without making anything: the named data directory, or the files of the text and the
// named tokenizer. Throws what open_run_data would throw for these.
std::vector<std::string> look_at_run_data(const RunConfig& config);

std::string data_line(const Corpus& corpus);
DataFacts data_facts(const RunConfig& config, const Corpus& corpus);

// How small gzip -9 makes the validation text, its documents end to end; nothing above 64 MiB of it.
std::vector<BaselineFacts> baselines_of(const Corpus& corpus);

}  // namespace centavo
