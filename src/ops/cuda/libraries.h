// How kernels reach NVIDIA's libraries: handles of one device, made once and shared by all ops of a machine.
//
// The machine owns it (machine/cuda/). Handles are made at first use, so a program without matrix products opens no
// cuBLASLt (ops/cuda/cublas_lt_library.h). While ops are prepared there are a stream and memory to time candidates.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

struct CUstream_st;
struct cublasLtContext;
struct cudnnContext;

namespace centavo {

// Which candidate is fastest for a case, by names; kept on disk by the machine (machine/cuda/tuning_file.h).
class TuningTable {
 public:
  // Empty when the case is not known.
  std::string find(const std::string& key) const;
  void set(const std::string& key, const std::string& choice);
  const std::map<std::string, std::string>& entries() const { return entries_; }
  bool changed() const { return changed_; }
  void mark_saved() { changed_ = false; }

 private:
  std::map<std::string, std::string> entries_;
  bool changed_ = false;
};

class CudaLibraries {
 public:
  // For the current device. Throws DeviceError.
  CudaLibraries();
  ~CudaLibraries();
  CudaLibraries(const CudaLibraries&) = delete;
  CudaLibraries& operator=(const CudaLibraries&) = delete;

  cublasLtContext* cublas_lt();  // a cublasLtHandle_t; throws DeviceError where the library is missing or too old
  cudnnContext* cudnn();         // a cudnnHandle_t; null where no cuDNN will do (ops/cuda/cudnn_library.h)

  // What is learnt while kernels are prepared; the machine fills it before and keeps it after.
  TuningTable tuning;

  // How ops run that one kernel can compute or several ("fused", "apart"), by their kind; for people.
  std::map<std::string, std::set<std::string>> ways;

  // What a library has built for a case, named by the case, shared by the ops that have the same one.
  std::map<std::string, std::shared_ptr<void>> plans;

  // A stream for timing candidates, while kernels are prepared.
  CUstream_st* stream() const { return stream_; }
  // At least `bytes` of device memory with random bf16 numbers of magnitude about 1 (so read as f32 too), the same
  // memory at each call; valid until the next call with more bytes, or release_scratch. Filled anew at each call, on
  // stream(). Throws DeviceError when there is too little.
  void* scratch(int64_t bytes);
  bool has_room_for_scratch(int64_t bytes) const;
  void release_scratch();

 private:
  cublasLtContext* cublas_lt_ = nullptr;
  cudnnContext* cudnn_ = nullptr;
  CUstream_st* stream_ = nullptr;
  void* scratch_ = nullptr;
  int64_t scratch_bytes_ = 0;
};

}  // namespace centavo
