#include "machine/virtual/profile.h"

namespace centavo {
namespace {

// Where in its input an op begins does not change what it does.
constexpr std::string_view kPlace = "begin";

void append(OpCase& to, const Buffer& buffer) {
  to.signature += " ";
  to.signature += name_of(buffer.dtype);
  if (buffer.home == Home::host) to.signature += kOnHost;
  to.extents.insert(to.extents.end(), buffer.shape.begin(), buffer.shape.end());
}

void append_operands(OpCase& to, const OpDef& def, const OpView& view) {
  for (size_t i = 0; i < def.inputs.size(); ++i) {
    if (view.has_input(i)) {
      append(to, view.input(i));
    } else {
      to.signature += " -";
    }
  }
  to.signature += " >";
  for (size_t i = 0; i < def.outputs.size(); ++i) {
    if (view.has_output(i)) {
      append(to, view.output(i));
      if (view.adds(i)) to.signature += "+";
    } else {
      to.signature += " -";
    }
  }
}

void append_attributes(OpCase& to, const OpDef& def, const OpView& view) {
  for (const AttributeSpec& attribute : def.attributes) {
    if (attribute.form == AttributeSpec::text) to.signature += " " + view.text(attribute.name);
    if (attribute.form == AttributeSpec::whole && attribute.name != kPlace) {
      to.extents.push_back(view.whole(attribute.name));
    }
  }
}

}  // namespace

OpCase case_of(const OpTable& ops, const Program& program, const Op& op) {
  const OpDef& def = ops.at(op.kind);
  const OpView view(program, op);
  OpCase result{.signature = op.kind, .extents = {}, .cost = {}};
  append_operands(result, def, view);
  append_attributes(result, def, view);
  result.cost = def.cost == nullptr ? Cost{.bytes = operand_bytes(view)} : def.cost(view);
  return result;
}

}  // namespace centavo
