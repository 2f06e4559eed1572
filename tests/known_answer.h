// What the unit tests and the fuzzer ask a host table about the answer of a lookup.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/host_table.h"

namespace nextaddr {

// HostTable::knows() of an answer with these addresses, in this order.
inline bool table_knows(const HostTable& table, std::string_view host,
                        const std::vector<Address>& addresses, LookupFamilies families,
                        std::uint16_t port = 0) {
  struct Source {
    const std::vector<Address>& addresses;
    std::size_t next;
  } source{addresses, 0};
  const auto next = [](HostTable::Answer& answer, Address& out) {
    Source& from = *static_cast<Source*>(answer.source);
    if (from.next == from.addresses.size()) return false;
    out = from.addresses[from.next++];
    return true;
  };
  HostTable::Answer answer{next, &source, families, port};
  return table.knows(host, answer);
}

}  // namespace nextaddr
