// First values of a model's parameters.
//
//   norm weights                    1
//   biases, lora_b                  0
//   o, down (they write the         normal, deviation initializer_range / sqrt(2 num_hidden_layers)
//     residual stream)
//   lora_a                          normal, deviation 1 / sqrt(in)
//   everything else                 normal, deviation initializer_range
//
// Element i of parameter `name` is a pure function of (seed, name, i): neither sharding nor order changes it. A master
// copy gets the value in f32, the parameter the value rounded to its dtype.
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (residual scaling).
#pragma once

#include "machine/machine.h"
#include "model/config.h"

namespace centavo {

void initialize_parameters(Machine& machine, const ModelConfig& config, uint64_t seed);

}  // namespace centavo
