// How CUDA kernels are tested: the same small program as in op_check.h runs on the CUDA machine, its arena filled with
// NaN, and is held against the CPU.
#pragma once

#include <string>
#include <vector>

#include "machine/make_machine.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

// First line of a test that needs a GPU.
#define NEEDS_GPU() \
  if (!::centavo::testing::gpu_present()) GTEST_SKIP() << "needs a GPU"

// Of one that needs the kernels for compute capability 9.0.
#define NEEDS_HOPPER() \
  NEEDS_GPU();         \
  if (::centavo::planned_gpu().architecture != 90) GTEST_SKIP() << "needs a GPU of compute capability 9.0"

// A program built with CUDA on a computer with a driver and a GPU.
bool gpu_present();

struct CudaRun {
  bool deterministic = false;
  bool replayed = false;  // captured and replayed twice in all, the second run's results; else launched op by op
  // Where the algorithms of large products are remembered; empty: each run times them anew, and may choose others.
  std::string tuning_directory = {};
  // Whose kernels run; null: the product's.
  const OpTable* ops = nullptr;
};

// An empty directory of its own for CudaRun::tuning_directory, and what the tables in it say.
std::string new_tuning_directory();
std::string tables_in(const std::string& tuning_directory);

// As run_step of op_check.h, on the GPU.
Tensors run_step_cuda(Program program, const Tensors& inputs, const CudaRun& how = {});

// Runs in `dtype` on the GPU, launched and replayed, and in f64 on the CPU, on inputs that are first rounded to
// `dtype`; expects for each named buffer |a - b| <= bound * max |b| and names the worst index.
void expect_cuda_close(const Forward& forward, const Tensors& inputs, DType dtype,
                       const std::vector<std::string>& names, double bound, CudaRun how = {});

// The same for the gradients of all trainable parameters, from random gradients of `outputs` (losses need none).
void expect_cuda_gradients_close(const Forward& forward, const Tensors& inputs, DType dtype,
                                 const std::vector<std::string>& outputs, double bound, const CudaRun& how = {});

// Three runs of the program, or of its gradients when `outputs` is not empty, give the same bits.
void expect_cuda_repeatable(const Forward& forward, const Tensors& inputs, DType dtype,
                            const std::vector<std::string>& outputs = {}, const CudaRun& how = {});

// GPU and CPU give the same bits in `dtype` for the named buffers: for what is exact or rounded once.
void expect_cuda_equals_cpu(const Forward& forward, const Tensors& inputs, DType dtype,
                            const std::vector<std::string>& names);

}  // namespace centavo::testing
