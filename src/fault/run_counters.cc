#include "fault/run_counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "config.h"
#include "os/kernel.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constinit Run* the_run = nullptr;
constinit std::uint32_t opened_by = 0;

Run* map(int fd) {
  const int kind = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = mmap(nullptr, sizeof(Run), PROT_READ | PROT_WRITE, kind, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Run*>(memory);
}

// Maps the launcher's file. Null when it is none: it must hold zeros, or what the library has
// written.
Run* map_file(const char* path) {
  if (path == nullptr) return nullptr;
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return nullptr;
  struct stat status {};
  const bool good = kernel::fstat(fd, status) == 0 && S_ISREG(status.st_mode) &&
                    status.st_uid == geteuid() && status.st_size >= static_cast<off_t>(sizeof(Run));
  Run* mapped = good ? map(fd) : nullptr;
  kernel::close(fd);
  if (mapped != nullptr && mapped->magic != 0 && mapped->magic != kRunMagic) {
    munmap(mapped, sizeof(Run));
    return nullptr;
  }
  return mapped;
}

std::uint64_t choose_seed() {
  if (config().has_seed) return config().seed;
  std::uint32_t random = 0;
  static_cast<void>(kernel::getrandom(&random, sizeof random, GRND_NONBLOCK));
  return random;
}

}  // namespace

void open_run() {
  if (config().faults.empty() && config().run_file == nullptr) return;
  the_run = map_file(config().run_file);
  if (the_run == nullptr) the_run = map(-1);
  if (the_run == nullptr) return;
  std::uint64_t none = 0;
  the_run->seed.compare_exchange_strong(none, choose_seed() + 1);
  the_run->magic.store(kRunMagic);
  opened_by = own_pid();
}

Run* run() { return the_run; }

std::uint64_t seed() { return the_run->seed.load(std::memory_order_relaxed) - 1; }

bool ends_run() {
  if (the_run == nullptr || !owns_memory()) return false;
  return config().run_file != nullptr ? config().ends_run : own_pid() == opened_by;
}

}  // namespace nextaddr
