// The CPU machine: runs a placed program in issue order, every op on all threads.
//
// Everything is decided at construction: kernels prepared, arenas allocated, addresses bound. A step then only calls
// kernels; the one thing it looks up is which slot of a ring a counter picks.
//
// The debug mode proves what the plan says about memory. Arenas start as poison (NaN for floats); before an op its
// written outputs are poisoned again, so a kernel that reads what it should define, or leaves elements undefined,
// shows; the red zones around its operands must be intact after it; under the address sanitizer every byte of the
// arenas that the op did not declare is out of bounds for its loads and stores.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "machine/machine.h"
#include "program/op_table.h"

namespace centavo {

class CpuMachine : public Machine {
 public:
  struct Options {
    int64_t threads = 0;  // 0: all the process may use
    bool debug = false;   // the program must be placed with kRedZoneBytes (guard.h)
    // The machine that owns the buffers this program borrows; it must outlive this one.
    CpuMachine* lender = nullptr;
    // How collective ops reach the other ranks; null: this rank is alone. It must outlive the machine.
    Communicator* communicator = nullptr;
    // Where the arena of home `host` lies, as a file without a name (base/file_memory.h); empty: in ordinary memory.
    std::string host_directory = {};
  };

  // The program must be verified and placed. Throws UserError when it is for another number of ranks and OutOfMemory
  // when an arena cannot be had; errors of host_directory are those of map_file_memory.
  CpuMachine(Program program, const OpTable& ops, const Options& options);
  ~CpuMachine() override;

  const Program& program() const override { return program_; }
  void step(const OpObserver& observer = {}) override;
  void write(const std::string& buffer, std::span<const std::byte> bytes, int64_t slot = 0) override;
  void read(const std::string& buffer, std::span<std::byte> bytes, int64_t slot = 0) const override;

  void write_elements(const std::string& buffer, int64_t first, std::span<const std::byte> bytes) override;
  void read_elements(const std::string& buffer, int64_t first, std::span<std::byte> bytes) const override;
  void run_once(Program program, const OpTable& ops) override;

  // The first byte of a buffer's slot. CHECKs the name.
  std::byte* memory(const std::string& buffer, int64_t slot = 0) const;

  // Number of threads a request for `threads` gets.
  static int thread_count(int64_t threads);

 private:
  struct Operand;
  struct Prepared;

  Operand bind(BufferId id) const;
  std::byte* elements(const std::string& buffer, int64_t first, size_t bytes) const;
  Prepared prepare(const Op& op, const OpTable& ops) const;
  void check_ranks() const;
  void tell_communicator(const Prepared& prepared) const;
  std::byte* anonymous_memory(int64_t bytes) const;
  void allocate();
  void run(const Prepared& prepared) const;

  Program program_;
  Options options_;
  int threads_;
  std::map<std::string, BufferId> names_;
  std::map<Home, std::byte*> arenas_;
  std::map<std::string, std::vector<Prepared>> sections_;
};

}  // namespace centavo
