#include "train/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/utf8.h"
#include "train/html.h"
#include "train/units.h"

namespace centavo {
namespace {

constexpr size_t kSamplesShown = 10;
constexpr size_t kSampleBytes = 1200;

std::string lead(const MetricsFile& metrics, const RunSummary& summary) {
  const RunFacts& facts = metrics.facts();
  const std::string steps = facts.max_steps > 0
                                ? fmt::format("step {} of {}", grouped(summary.steps), grouped(facts.max_steps))
                                : fmt::format("{} steps", grouped(summary.steps));
  std::string text = fmt::format("<span>{}</span>", steps);
  if (metrics.starts.front().unix_seconds > 0) {
    text += fmt::format(" <span>started {}</span>", date_text(metrics.starts.front().unix_seconds));
  }
  if (metrics.starts.size() > 1) {
    const size_t resumes = metrics.starts.size() - 1;
    text += fmt::format(" <span>resumed {}</span>", resumes == 1 ? "once" : fmt::format("{} times", resumes));
  }
  return fmt::format("<p class=\"lead\">{}</p>\n", text);
}

std::string progress(const MetricsFile& metrics, const RunSummary& summary) {
  const int64_t all = metrics.facts().max_steps;
  if (all <= 0 || summary.steps >= all) return "";
  const double share = static_cast<double>(summary.steps) / static_cast<double>(all);
  return fmt::format("<div class=\"progress\"><div style=\"width:{:.1f}%\"></div></div>\n", 100 * std::max(0.0, share));
}

struct Bar {
  std::string name;
  double value;
  const char* kind;
};

std::string bars(const std::vector<Bar>& all) {
  double widest = 0;
  for (const Bar& bar : all) widest = std::max(widest, std::isfinite(bar.value) ? bar.value : 0);
  std::string text;
  for (const Bar& bar : all) {
    const double width = widest > 0 && std::isfinite(bar.value) ? std::max(0.0, 100 * bar.value / widest) : 0;
    text += fmt::format(
        "<div{}><span>{}</span><span><i style=\"width:{:.1f}%\"></i></span><span class=\"number\">{}</span></div>\n",
        bar.kind, html(bar.name), width, significant(bar.value, 4));
  }
  return fmt::format("<div class=\"bars\">\n{}</div>\n", text);
}

std::string hero(const std::string& label, const std::string& value, const std::string& unit, const std::string& rest) {
  return fmt::format(
      "<div class=\"card hero\"><span class=\"label\">{}</span>\n<span class=\"value\">{} <small>{}</small></span>\n"
      "{}</div>\n",
      label, value, unit, rest);
}

std::string validation_hero(const RunFacts& facts, const ValidationRecord& validation) {
  std::string rest;
  if (!facts.baselines.empty()) {
    std::vector<Bar> all = {{"this model", validation.bits_per_byte, ""}};
    for (const BaselineFacts& b : facts.baselines) all.push_back({b.name, b.bits_per_byte, " class=\"other\""});
    rest += bars(all);
  }
  rest += fmt::format("<span class=\"note\">{} nats per token over {} held-out bytes, at step {}</span>\n",
                      significant(validation.loss, 4), grouped(validation.bytes), grouped(validation.step));
  return hero("Held-out text", significant(validation.bits_per_byte, 4), "bits per byte", rest);
}

std::string loss_hero(const RunSummary& summary) {
  const std::string value = summary.loss ? significant(*summary.loss, 4) : "–";
  return hero("Training loss", value, "nats per token", "<span class=\"note\">no validation so far</span>\n");
}

std::string tile(const std::string& label, const std::string& value, const std::string& note) {
  const bool known = value != "–";
  return fmt::format(
      "<div class=\"card tile{}\"><span class=\"label\">{}</span><span class=\"value\">{}</span>"
      "<span class=\"note\">{}</span></div>\n",
      known ? "" : " unknown", label, value, note);
}

std::string loss_tile(const RunSummary& summary) {
  if (!summary.loss) return tile("Training loss", "–", "no step so far");
  return tile("Training loss", significant(*summary.loss, 4),
              fmt::format("nats per token, from {}", significant(summary.first_loss.value_or(NAN), 4)));
}

std::string gradient_tile(const RunSummary& summary) {
  return tile("Gradient norm", summary.grad_norm ? significant(*summary.grad_norm, 3) : "–", "before clipping");
}

std::string cost_tile(const RunFacts& facts, const RunSummary& summary) {
  if (!summary.cost) return tile("Cost", "–", "no price was given");
  return tile("Cost", money_text(*summary.cost), fmt::format("at {} an hour", money_text(*facts.price_per_hour)));
}

std::string peak_tile(const RunFacts& facts, const RunSummary& summary) {
  if (!summary.mfu) return tile("Share of peak", "–", "the peak was not measured");
  const std::string note =
      facts.peak_flops ? "of " + short_count(*facts.peak_flops) + "FLOP/s measured" : "of measured";
  return tile("Share of peak", significant(100 * *summary.mfu, 3) + " %", note);
}

std::string tiles(const MetricsFile& metrics, const RunSummary& summary) {
  const RunFacts& facts = metrics.facts();
  std::string text = summary.validation ? loss_tile(summary) : gradient_tile(summary);
  text += tile("Tokens seen", short_count(static_cast<double>(summary.tokens)),
               fmt::format("in {} {}", grouped(summary.steps), summary.steps == 1 ? "step" : "steps"));
  text += tile("Throughput", summary.tok_s ? short_count(*summary.tok_s) : "–", "tokens per second, median");
  text += tile("Wall time", duration_text(summary.seconds),
               metrics.starts.size() > 1 ? fmt::format("over {} starts", metrics.starts.size()) : "with validation");
  return text + cost_tile(facts, summary) + peak_tile(facts, summary);
}

// At most kSamplesShown at equal distances, the first and the last among them.
std::vector<const SampleRecord*> chosen(const std::vector<SampleRecord>& samples) {
  const size_t count = std::min(samples.size(), kSamplesShown);
  std::vector<const SampleRecord*> picked;
  for (size_t i = 0; i < count; ++i) {
    picked.push_back(&samples[count > 1 ? i * (samples.size() - 1) / (count - 1) : 0]);
  }
  return picked;
}

// Cut between characters.
std::string shortened(const std::string& bytes) {
  const std::string text = to_utf8(bytes);
  size_t size = 0;
  while (size < text.size() && size < kSampleBytes) size += utf8_sequence(std::string_view(text).substr(size));
  return text.substr(0, size) + (size < text.size() ? " …" : "");
}

// The last measurement not after `step`; null before the first.
template <class Record>
const Record* last_until(const std::vector<Record>& records, int64_t step) {
  const auto after = std::ranges::upper_bound(records, step, {}, &Record::step);
  return after == records.begin() ? nullptr : &*std::prev(after);
}

std::string sample_loss(const MetricsFile& metrics, int64_t step) {
  if (const ValidationRecord* v = last_until(metrics.validations, step)) {
    return fmt::format("{} bits per byte", significant(v->bits_per_byte, 3));
  }
  if (const StepRecord* s = last_until(metrics.steps, step)) return "loss " + significant(s->loss, 3);
  return "untrained";
}

std::string sample_item(const MetricsFile& metrics, const SampleRecord& sample) {
  return fmt::format(
      "<li><div class=\"when\"><b>step {}</b>{}</div>"
      "<blockquote class=\"card\"><span class=\"prompt\">{}</span>{}</blockquote></li>\n",
      grouped(sample.step), sample_loss(metrics, sample.step), html(shortened(sample.prompt)),
      html(shortened(sample.text)));
}

std::string row(std::string_view label, const std::string& value) {
  if (value.empty()) return "";
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", html(label), html(value));
}

std::string code_row(std::string_view label, const std::string& value) {
  if (value.empty()) return "";
  return fmt::format("<tr><th>{}</th><td><code>{}</code></td></tr>\n", html(label), html(value));
}

std::string count_row(std::string_view label, int64_t value) { return value > 0 ? row(label, grouped(value)) : ""; }

std::string fact_rows(const std::vector<Fact>& facts) {
  std::string rows;
  for (const Fact& fact : facts) rows += row(fact.label, fact.value);
  return rows;
}

std::string table(const std::string& title, const std::string& rows) {
  if (rows.empty()) return "";
  return fmt::format("<div class=\"card\"><h3>{}</h3>\n<table>\n{}</table></div>\n", title, rows);
}

std::string data_rows(const DataFacts& data) {
  return row("source", data.source) + count_row("documents", data.documents) +
         (data.bytes > 0 ? row("bytes", fmt::format("{} ({})", grouped(data.bytes), bytes_text(data.bytes))) : "") +
         count_row("tokens", data.tokens) + count_row("vocabulary", data.vocabulary);
}

std::string machine_rows(const MetricsFile& metrics) {
  const RunFacts& facts = metrics.facts();
  const MachineFacts& machine = facts.machine;
  return row("processor", machine.cpu) + count_row("cores", machine.cores) + count_row("threads used", facts.threads) +
         (machine.gpu ? row("GPU", *machine.gpu) : "") + row("GPU's use", gpu_use_text(total_gpu_use(metrics))) +
         (machine.memory_bytes > 0 ? row("memory", bytes_text(machine.memory_bytes)) : "") + row("system", machine.os) +
         (facts.peak_flops ? row("peak, measured", short_count(*facts.peak_flops) + "FLOP/s") : "");
}

std::string hash_rows(const RunFacts& facts) {
  return code_row("program", facts.program_hash) + code_row("data", facts.data.hash) + code_row("commit", facts.commit);
}

std::string start_rows(const MetricsFile& metrics) {
  std::string rows;
  for (const Start& start : metrics.starts) {
    rows += row(fmt::format("after step {}", grouped(start.step)), date_text(start.unix_seconds));
  }
  return rows;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// A line of TOML as a row; what is neither a key nor a table's name stands as it is.
std::string config_row(std::string_view line) {
  line = trimmed(line);
  if (line.empty() || line.front() == '#') return "";
  const size_t equals = line.find('=');
  if (line.front() == '[' || equals == line.npos) {
    return fmt::format("<tr class=\"group\"><th colspan=\"2\"><code>{}</code></th></tr>\n", html(line));
  }
  return fmt::format("<tr><th class=\"key-name\"><code>{}</code></th><td><code>{}</code></td></tr>\n",
                     html(trimmed(line.substr(0, equals))), html(trimmed(line.substr(equals + 1))));
}

std::string config_rows(std::string_view config) {
  std::string rows;
  while (!config.empty()) {
    const size_t end = std::min(config.find('\n'), config.size() - 1);
    rows += config_row(config.substr(0, end + (config[end] == '\n' ? 0 : 1)));
    config.remove_prefix(end + 1);
  }
  return rows;
}

std::string code_block(const std::string& text) {
  return fmt::format("<div class=\"code\"><pre>{}</pre></div>\n", html(text));
}

}  // namespace

std::string header_html(const MetricsFile& metrics, const RunSummary& summary) {
  const RunFacts& facts = metrics.facts();
  std::string text =
      "<header>\n<div class=\"brand\"><span class=\"coin\">¢</span><span><b>centavo</b> run</span></div>\n";
  text += fmt::format("<h1>{}</h1>\n", html(facts.name));
  text += lead(metrics, summary) + progress(metrics, summary);
  text += "<div class=\"figures\">\n";
  text += summary.validation ? validation_hero(facts, *summary.validation) : loss_hero(summary);
  return text + fmt::format("<div class=\"tiles\">\n{}</div>\n</div>\n</header>\n", tiles(metrics, summary));
}

std::string samples_html(const MetricsFile& metrics) {
  if (metrics.samples.empty()) return "";
  std::string items;
  for (const SampleRecord* sample : chosen(metrics.samples)) items += sample_item(metrics, *sample);
  const std::string note =
      metrics.samples.size() > kSamplesShown
          ? fmt::format("<p class=\"note\">{} of {} samples</p>\n", kSamplesShown, metrics.samples.size())
          : "";
  return fmt::format("<section>\n<h2>What it writes</h2>\n{}<ol class=\"samples\">\n{}</ol>\n</section>\n", note,
                     items);
}

std::string facts_html(const MetricsFile& metrics) {
  const RunFacts& facts = metrics.facts();
  std::string tables = table("Model", fact_rows(facts.model)) + table("Data", data_rows(facts.data)) +
                       table("Machine", machine_rows(metrics)) +
                       table("Versions", row("centavo", facts.version) + fact_rows(facts.machine.libraries)) +
                       table("Hashes", hash_rows(facts));
  if (metrics.starts.size() > 1) tables += table("Starts", start_rows(metrics));
  tables += table("Configuration", config_rows(facts.config));
  return fmt::format("<section>\n<h2>The run</h2>\n<div class=\"facts\">\n{}</div>\n</section>\n", tables);
}

std::string repeat_html(const MetricsFile& metrics) {
  const RunFacts& facts = metrics.facts();
  std::string items = fmt::format("<li>Build centavo {}.\n{}</li>\n", html(facts.version),
                                  facts.commit.empty() ? "" : code_block("git checkout " + facts.commit));
  items += fmt::format("<li>Save the configuration as a run file, <code>repeat.toml</code>.\n{}</li>\n",
                       code_block(facts.config));
  items +=
      fmt::format("<li>Train into a new directory.\n{}</li>\n", code_block("centavo train repeat.toml out=repeat"));
  if (!facts.program_hash.empty() || !facts.data.hash.empty()) {
    items +=
        fmt::format("<li>Compare the hashes in its run.json: program <code>{}</code>, data <code>{}</code>.</li>\n",
                    html(facts.program_hash), html(facts.data.hash));
  }
  items += fmt::format("<li>For the record, this is how it was started.\n{}</li>\n",
                       code_block(metrics.starts.front().facts.command));
  return fmt::format("<section>\n<h2>Repeat this run</h2>\n<ol class=\"card steps\">\n{}</ol>\n</section>\n", items);
}

}  // namespace centavo
