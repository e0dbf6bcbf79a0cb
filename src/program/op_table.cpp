#include "program/op_table.h"

namespace centavo {

int64_t OpView::columns(size_t i) const { return in(i).empty() ? 1 : in(i).back(); }

int64_t OpView::rows(size_t i) const {
  const int64_t c = columns(i);
  return c == 0 ? 0 : input(i).elements() / c;
}

int64_t OpView::whole(std::string_view name) const { return std::get<int64_t>(op_->attributes.at(std::string(name))); }

double OpView::real(std::string_view name) const { return std::get<double>(op_->attributes.at(std::string(name))); }

const std::string& OpView::text(std::string_view name) const {
  return std::get<std::string>(op_->attributes.at(std::string(name)));
}

double operand_bytes(const OpView& view) {
  double bytes = 0;
  for (size_t i = 0; i < view.op().inputs.size(); ++i) {
    if (view.has_input(i)) bytes += static_cast<double>(view.input(i).slot_bytes());
  }
  for (size_t i = 0; i < view.op().outputs.size(); ++i) {
    if (view.has_output(i)) bytes += static_cast<double>(view.output(i).slot_bytes()) * (view.adds(i) ? 2 : 1);
  }
  return bytes;
}

OpTable::OpTable(std::vector<OpDef> rows) : rows_(std::move(rows)) {
  for (size_t i = 0; i < rows_.size(); ++i) {
    CHECK(index_.emplace(rows_[i].kind, i).second, "op kind {} stands twice in the table", rows_[i].kind);
  }
}

const OpDef* OpTable::find(std::string_view kind) const {
  const auto it = index_.find(kind);
  return it == index_.end() ? nullptr : &rows_[it->second];
}

const OpDef& OpTable::at(std::string_view kind) const {
  const OpDef* def = find(kind);
  CHECK(def != nullptr, "unknown op kind {}", kind);
  return *def;
}

}  // namespace centavo
