// How ops are tested: a small program around the op runs on the CPU machine in debug mode (poisoned, red-zoned
// arenas); tensors are doubles by buffer name.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "machine/machine.h"
#include "program/builder.h"

namespace centavo::testing {

using Tensors = std::map<std::string, std::vector<double>>;

// Declares inputs and appends the ops under test.
using Forward = std::function<void(Builder&)>;

// `count` normal numbers, the same for the same name.
std::vector<double> random_values(const std::string& name, int64_t count, double scale = 1.0);

// Each value rounded to a float type and back.
std::vector<double> rounded(const std::vector<double>& values, DType dtype);

// The program `forward` builds, computing in `dtype`; what an op reads as a statistic is in its accumulator.
Program build(const Forward& forward, DType dtype = DType::f32);

// Random values for every parameter and every float stream_in buffer of the program.
Tensors random_inputs(const Program& program, double scale = 1.0);

// A machine's buffer as doubles; values are converted to and from its dtype.
void set_tensor(Machine& machine, const std::string& name, const std::vector<double>& values);
std::vector<double> get_tensor(const Machine& machine, const std::string& name, int64_t slot = 0);

// Gives every buffer its own address, places, verifies, runs one step in debug mode with `inputs` set (each value is
// converted to its buffer's dtype) and returns the contents of all buffers that are not workspace.
Tensors run_step(Program program, const Tensors& inputs, int threads = 2);

// Central differences in f64: L = sum over `outputs` of <r, output> with fixed random r. For each trainable parameter
// of the program compares dL/dparameter from the gradient rules, element by element, with
// (L(p + h) - L(p - h)) / 2h. `inputs` must hold every parameter and every stream_in; float values are used as given.
// Expects |difference| <= tolerance * max(1, largest |gradient| of that parameter).
void expect_gradients(const Forward& forward, const Tensors& inputs, const std::vector<std::string>& outputs,
                      double tolerance = 1e-7);

// Runs in `dtype` and in f64 on inputs that are first rounded to `dtype`; expects for each named buffer
// |a - b| <= bound * max |b| and names the worst index.
void expect_close_to_f64(const Forward& forward, const Tensors& inputs, DType dtype,
                         const std::vector<std::string>& names, double bound);

// |a - b| <= bound * max|b|; names the worst index.
void expect_near(const std::vector<double>& a, const std::vector<double>& b, double bound, const std::string& what);

// Two runs give the same bits, with each of these numbers of threads and between them. Ops on top of matrix products
// promise no more than the same bits for the same number.
void expect_repeatable(const Forward& forward, const Tensors& inputs, DType dtype,
                       const std::vector<int>& threads = {1, 2, 3});

// Building the program must fail with a ShapeError that contains `message`.
void expect_shape_error(const Forward& forward, const std::string& message);

}  // namespace centavo::testing
