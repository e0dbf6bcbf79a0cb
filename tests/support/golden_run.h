// Runs of the models in tests/golden, whose inputs, weights and gradients another program has computed.
#pragma once

#include <memory>
#include <string>

#include "machine/cpu/cpu_machine.h"
#include "model/hf/safetensors.h"

namespace centavo::testing {

// The forward with the logits as a further output. Its last op is the loss over 24 tokens of a vocabulary of 61.
Program with_logits(Program forward);

// One step of the forward and its backward on the golden's inputs and weights.
std::unique_ptr<CpuMachine> run_golden(Program forward, const SafetensorsFile& golden, const std::string& policy);

// Expects the gradient of every parameter within `bound` of the golden's, in relative norm.
void expect_golden_gradients(const CpuMachine& machine, const SafetensorsFile& golden, double bound);

}  // namespace centavo::testing
