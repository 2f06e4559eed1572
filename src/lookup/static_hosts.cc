#include "lookup/static_hosts.h"

#include <arpa/inet.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "config.h"
#include "engine/static_hosts.h"
#include "lookup/borrowed_list.h"
#include "os/libc.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// getaddrinfo(3): what a null `hints` stands for in glibc.
addrinfo effective_hints(const addrinfo* hints) {
  addrinfo result{};
  if (hints == nullptr) {
    result.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG;
    return result;
  }
  result.ai_flags = hints->ai_flags;
  result.ai_family = hints->ai_family;
  result.ai_socktype = hints->ai_socktype;
  result.ai_protocol = hints->ai_protocol;
  return result;
}

// The complaint about these hints that libc makes before it looks any address up, or 0.
int complaint(const char* service, addrinfo hints) {
  hints.ai_flags &= ~AI_ADDRCONFIG;
  addrinfo* result = nullptr;
  const int error =
      libc::getaddrinfo(hints.ai_family == AF_INET6 ? "::" : "0.0.0.0", service, &hints, &result);
  if (error == 0) freeaddrinfo(result);
  return error;
}

bool has_ipv6(const AddressList& addresses) {
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (!addresses[i].is_ipv4()) return true;
  }
  return false;
}

bool family_wanted(const Address& address, const addrinfo& hints, bool ipv6_exists) {
  switch (hints.ai_family) {
    case AF_INET:
      return address.is_ipv4();
    case AF_INET6:
      if (!address.is_ipv4()) return true;
      return (hints.ai_flags & AI_V4MAPPED) != 0 &&
             (!ipv6_exists || (hints.ai_flags & AI_ALL) != 0);
    default:
      return true;
  }
}

void numeric_text(const Address& address, char (&out)[INET6_ADDRSTRLEN]) {
  if (address.is_ipv4()) {
    inet_ntop(AF_INET, &address.words[3], out, sizeof out);
  } else {
    inet_ntop(AF_INET6, address.words.data(), out, sizeof out);
  }
}

// Hands out aligned pieces of the caller's buffer, null when it is used up.
class Buffer {
 public:
  Buffer(char* start, std::size_t size) : free_(start), left_(size) {}

  void* take(std::size_t size) {
    const std::size_t padding = -reinterpret_cast<std::uintptr_t>(free_) % alignof(char*);
    if (left_ < padding || left_ - padding < size) return nullptr;
    char* piece = free_ + padding;
    free_ = piece + size;
    left_ -= padding + size;
    return piece;
  }

 private:
  char* free_;
  std::size_t left_;
};

}  // namespace

bool name_is_given(const char* name) {
  if (name == nullptr || !active() || config().resolve.empty()) return false;
  const BorrowedList addresses;
  return addresses.get() != nullptr && find_given_name(config().resolve, name, *addresses.get());
}

int given_getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                      addrinfo** result) {
  addrinfo wanted = effective_hints(hints);
  if ((wanted.ai_flags & AI_NUMERICHOST) != 0) {
    return libc::getaddrinfo(node, service, hints, result);
  }
  const int flags = wanted.ai_flags;
  wanted.ai_flags = (wanted.ai_flags | AI_NUMERICHOST) & ~AI_CANONNAME;
  const BorrowedList borrowed;
  if (borrowed.get() == nullptr) return EAI_MEMORY;
  AddressList& addresses = *borrowed.get();
  find_given_name(config().resolve, node, addresses);
  const bool ipv6_exists = has_ipv6(addresses);
  addrinfo* first = nullptr;
  addrinfo** end = &first;
  // libc turns each address into its entries (socket types, service, mapping), so hints mean what
  // they always do.
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (!family_wanted(addresses[i], wanted, ipv6_exists)) continue;
    char text[INET6_ADDRSTRLEN];
    numeric_text(addresses[i], text);
    const int error = libc::getaddrinfo(text, service, &wanted, end);
    if (error == EAI_NONAME || error == EAI_ADDRFAMILY)
      continue;  // AI_ADDRCONFIG excludes the family
    if (error != 0) {
      if (first != nullptr) freeaddrinfo(first);
      return error;
    }
    for (; *end != nullptr; end = &(*end)->ai_next) (*end)->ai_flags = flags;
  }
  if (first == nullptr) {
    const int error = complaint(service, wanted);
    return error != 0 ? error : EAI_NONAME;
  }
  if ((flags & AI_CANONNAME) != 0) {
    first->ai_canonname = strdup(node);
    if (first->ai_canonname == nullptr) {
      freeaddrinfo(first);
      return EAI_MEMORY;
    }
  }
  *result = first;
  return 0;
}

int given_hostent(const char* name, int family, hostent* entry, char* buffer, std::size_t size,
                  hostent** result, int* error) {
  *result = nullptr;
  const BorrowedList borrowed;
  if (borrowed.get() == nullptr) {
    *error = NETDB_INTERNAL;
    return ENOMEM;
  }
  AddressList& addresses = *borrowed.get();
  find_given_name(config().resolve, name, addresses);
  std::size_t count = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i].is_ipv4() == (family == AF_INET)) ++count;
  }
  if (count == 0) {
    *error = HOST_NOT_FOUND;
    return 0;
  }
  const std::size_t length = family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
  Buffer room(buffer, size);
  auto** list = static_cast<char**>(room.take((count + 1) * sizeof(char*)));
  auto** aliases = static_cast<char**>(room.take(sizeof(char*)));
  auto* bytes = static_cast<char*>(room.take(count * length));
  auto* official = static_cast<char*>(room.take(std::strlen(name) + 1));
  if (official == nullptr || bytes == nullptr || aliases == nullptr || list == nullptr) {
    *error = NETDB_INTERNAL;
    errno = ERANGE;
    return ERANGE;
  }
  std::size_t filled = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i].is_ipv4() != (family == AF_INET)) continue;
    list[filled] = bytes + filled * length;
    std::memcpy(list[filled++], addresses[i].words.data() + (family == AF_INET ? 3 : 0), length);
  }
  list[filled] = nullptr;
  *aliases = nullptr;
  std::memcpy(official, name, std::strlen(name) + 1);
  *entry = {official, aliases, family, static_cast<int>(length), list};
  *result = entry;
  *error = NETDB_SUCCESS;
  return 0;
}

hostent* given_static_hostent(const char* name, int family) {
  static constinit hostent entry{};
  static constinit char* buffer = nullptr;
  // Room for the longest list and the longest name; kept for the next call, as libc keeps its own.
  constexpr std::size_t kSize = kMaxAddresses * (sizeof(char*) + sizeof(in6_addr)) + 4096;
  if (buffer == nullptr) buffer = static_cast<char*>(std::malloc(kSize));
  if (buffer == nullptr) {
    h_errno = NETDB_INTERNAL;
    return nullptr;
  }
  hostent* result = nullptr;
  int error = NETDB_SUCCESS;
  given_hostent(name, family, &entry, buffer, kSize, &result, &error);
  if (result == nullptr) h_errno = error;
  return result;
}

}  // namespace nextaddr
