// The text of NEXTADDR_RESOLVE: names the user gives addresses to, "HOST=ADDR[,ADDR..]" separated
// by ';'. Pure: parses the text it is given each time, keeps nothing.
#pragma once

#include <string_view>

#include "engine/address.h"

namespace nextaddr {

// The addresses given to `host`, in their order; several entries for one host add up. False when
// there are none. An entry with anything wrong in it is ignored as a whole.
bool find_given_name(std::string_view text, std::string_view host, AddressList& out);

// True when no entry would be ignored.
bool given_names_valid(std::string_view text);

}  // namespace nextaddr
