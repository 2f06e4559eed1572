// The memory file: the entries of engine/address_memory.h that all processes of one user share.
// Opened for each use and closed again: no descriptor stays open, no page of it is ever mapped (who
// truncates a mapped file kills its readers), and the only lock ends with the process that holds
// it. Nothing here waits; async-signal-safe; errno is left alone.
//
// Must never change a file that is not a memory file of this user alone, nor fail: without a file
// there is nothing to read, and what is written is lost.
#pragma once

#include "engine/address_memory.h"
#include "os/errno_kept.h"
#include "os/signals.h"

namespace nextaddr {

// Takes over what other processes have written since the last call. Reads nothing but the header
// when the file is unchanged.
void read_memory_file(const AddressMemory& memory);

// For people: the file as it is, whoever's it is and whatever permissions it has. Calls
// each(context, entry) for all entries, in the order of the file. Errors are those of open(2); an
// error of EINVAL: it is something else than a memory file.
int look_at_memory_file(void (*each)(void* context, const AddressEntry& entry), void* context);

// The file, open and locked for the change of one entry.
class MemoryFile {
 public:
  // Opens and locks the file. `entry` becomes what the file has of its address, where that is
  // newer.
  explicit MemoryFile(AddressEntry& entry);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  // True when another process is changing the file right now.
  [[nodiscard]] bool is_busy() const { return fd_ >= 0 && !locked_; }
  // Writes the entry, which is of the same address, in its place. Nothing without a file.
  void write(const AddressEntry& entry) const;

 private:
  const ErrnoKept errno_kept_;
  const Uninterrupted uninterrupted_;
  int fd_ = -1;
  bool locked_ = false;
  std::size_t bucket_ = 0;
  std::size_t place_ = 0;
};

}  // namespace nextaddr
