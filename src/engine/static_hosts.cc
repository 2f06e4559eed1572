#include "engine/static_hosts.h"

#include "engine/host_filter.h"
#include "engine/text.h"

namespace nextaddr {
namespace {

// Calls `each` for every address of a list; false when the list is empty or one of them is none.
template <typename Each>
bool for_each_address(std::string_view list, Each each) {
  if (list.empty() || list.back() == ',') return false;
  while (!list.empty()) {
    Address address;
    if (!parse_address(take_until(list, ','), address)) return false;
    each(address);
  }
  return true;
}

}  // namespace

bool find_given_name(std::string_view text, std::string_view host, AddressList& out) {
  bool found = false;
  while (!text.empty()) {
    std::string_view addresses = take_until(text, ';');
    const std::string_view name = take_until(addresses, '=');
    if (name.empty() || !same_host(name, host)) continue;
    if (!for_each_address(addresses, [](const Address&) {})) continue;
    for_each_address(addresses, [&](const Address& address) { out.add(address); });
    found = true;
  }
  return found;
}

bool given_names_valid(std::string_view text) {
  while (!text.empty()) {
    std::string_view addresses = take_until(text, ';');
    const std::string_view name = take_until(addresses, '=');
    if (name.empty() || !for_each_address(addresses, [](const Address&) {})) return false;
  }
  return true;
}

}  // namespace nextaddr
