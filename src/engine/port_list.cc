#include "engine/port_list.h"

#include "engine/text.h"

namespace nextaddr {

bool PortList::parse(std::string_view text, PortList& out) {
  PortList read;
  if (text.empty() || text.back() == ',') return false;
  while (!text.empty()) {
    std::uint16_t port = 0;
    if (read.size_ == kMost || !parse_number(take_until(text, ','), UINT16_MAX, port) ||
        port == 0) {
      return false;
    }
    read.ports_[read.size_++] = port;
  }
  out = read;
  return true;
}

}  // namespace nextaddr
