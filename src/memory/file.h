// The memory file: the entries of src/engine/address_memory.h that all processes of one user share.
// Opened for each use and closed again: no descriptor stays open, no page of it is ever mapped (one
// who truncates a mapped file kills its readers), and the only lock ends with the process that
// holds it. All functions are async-signal-safe and never wait.
//
// Must never change a file that is not a memory file of this user alone, nor fail: without a file
// there is nothing to read, and what is written is lost.
#pragma once

#include "engine/address_memory.h"

namespace nextaddr {

// Takes over what other processes have written since the last call. Two system calls when the file
// is unchanged.
void read_memory_file(const AddressMemory& memory);

// Writes one entry.
void write_memory_file(const AddressEntry& entry);

// Takes the claim on an address whose parking is over, unless another process has it or knows more:
// `entry` is then what that one has written. True when the claim is ours.
bool claim_in_memory_file(AddressEntry& entry, std::uint64_t now_ms);

}  // namespace nextaddr
