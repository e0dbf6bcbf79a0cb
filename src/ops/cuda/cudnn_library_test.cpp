#include "ops/cuda/cudnn_library.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "ops/cuda/cublas_lt_library.h"
#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;

const std::string kOld = fake_library("old");                     // cuDNN 9.10
const std::string kNew = fake_library("new");                     // cuDNN 9.19
const std::string kOtherCuda = fake_library("new_for_cuda12");    // cuDNN 9.19 for CUDA 12
const std::string kOtherCublas = fake_library("cublas_of_tens");  // cuBLASLt 10.2

TEST(CudnnLibrary, OfTwoTheNewOneIsTaken) {
  EXPECT_EQ(find_cudnn({kOld, kNew}).path, kNew);
  EXPECT_EQ(find_cudnn({kOtherCuda, kNew}).path, kNew);
  EXPECT_EQ(cudnn_version_text(find_cudnn({kNew}).version), "9.19");
}

TEST(CudnnLibrary, AnOldOneIsRefused) {
  EXPECT_EQ(find_cudnn({kOld}).refusal, "cuDNN 9.10 is older than 9.16 (" + kOld + ")");
  EXPECT_EQ(find_cudnn({kOld}).handle, nullptr);
}

TEST(CudnnLibrary, OneForAnotherToolkitIsRefused) {
  EXPECT_THAT(find_cudnn({kOtherCuda}).refusal, HasSubstr("cuDNN 9.19 is for CUDA 12 and this program for CUDA " +
                                                          std::to_string(CUDART_VERSION / 1000)));
}

std::string refusal_of_cublas(const std::vector<std::string>& candidates) {
  try {
    require_cublas_lt(find_cublas_lt(candidates));
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

TEST(CublasLtLibrary, AnotherMajorVersionIsRefused) {
  const std::string built_for = cublas_version_text(CUBLAS_VERSION);
  EXPECT_EQ(refusal_of_cublas({kOtherCublas}), "cuBLASLt is 10.2 and this program was built for " + built_for + " (" +
                                                   kOtherCublas + "); install cuBLAS " + built_for +
                                                   " or a newer one of CUDA " + std::to_string(CUBLAS_VER_MAJOR) +
                                                   ", or use device = \"cpu\"");
}

TEST(CublasLtLibrary, AMissingOneIsNamed) {
  EXPECT_THAT(refusal_of_cublas({"libcentavo_has_none.so.9"}),
              HasSubstr("cuBLASLt cannot be opened: libcentavo_has_none.so.9"));
}

}  // namespace
}  // namespace centavo::testing
