// libFuzzer: addresses as text and as sockaddr, against inet_pton(3), inet_ntop(3) and what the
// kernel takes. Must never read past the end of either, nor lose or invent a bit between two forms
// of one.
#include "engine/address.h"

#include <netinet/in.h>

#include <cstring>
#include <vector>

#include "fuzz.h"

using namespace nextaddr;

namespace {

std::string text_of(const Address& address) {
  char out[kAddressTextSize];
  const std::size_t length = format_address(address, out);
  require(length < sizeof out && std::strlen(out) == length);
  return {out, length};
}

std::string text_by_libc(const Address& address) {
  char out[INET6_ADDRSTRLEN];
  if (address.is_ipv4()) return inet_ntop(AF_INET, &address.words[3], out, sizeof out);
  inet_ntop(AF_INET6, address.words.data(), out, sizeof out);
  const std::string scope = address.scope == 0 ? "" : "%" + std::to_string(address.scope);
  return "[" + std::string(out) + scope + "]";
}

void write_and_read_text(Address address) {
  require(text_of(address) == text_by_libc(address));
  address.scope = 0;
  Address again;
  require(parse_address(text_of(address), again) && again == address);
  require(hash_of(again) == hash_of(address));
}

void read_text(const std::vector<char>& text) {
  constexpr Address kUntouched{{1, 2, 3, 4}, 5};
  const std::string_view view(text.data(), text.size());
  const auto expected = address_by_libc(view);
  Address address = kUntouched;
  require(parse_address(view, address) == expected.has_value());
  require(address == expected.value_or(kUntouched));
  if (expected) write_and_read_text(address);
  // A number in brackets is none of getaddrinfo(3)'s; of inet_aton(3) there are more.
  if (expected && view.front() != '[') require(is_numeric(view));
  if (is_numeric(view)) require(!is_numeric("[" + std::string(view) + "]"));
}

// Link-local addresses alone are told apart by their scope: the kernel looks at it for no others.
bool has_scope(const in6_addr& address) { return IN6_IS_ADDR_LINKLOCAL(&address); }

void read_sockaddr_of(const std::vector<char>& bytes) {
  // Aligned as a sockaddr is, and with nothing behind its end.
  const auto* given = reinterpret_cast<const sockaddr*>(bytes.data());
  const auto length = static_cast<socklen_t>(bytes.size());
  sockaddr_in ipv4{};
  sockaddr_in6 ipv6{};
  if (length != 0) {
    std::memcpy(&ipv4, bytes.data(), std::min(bytes.size(), sizeof ipv4));
    std::memcpy(&ipv6, bytes.data(), std::min(bytes.size(), sizeof ipv6));
  }
  const bool is_ipv4 = length >= sizeof ipv4 && ipv4.sin_family == AF_INET;
  const bool is_ipv6 =
      length >= offsetof(sockaddr_in6, sin6_scope_id) && ipv6.sin6_family == AF_INET6;
  Endpoint endpoint;
  const bool read = read_sockaddr(given, length, endpoint);
  require(read == ((is_ipv4 || is_ipv6) && length <= sizeof(sockaddr_storage)));
  if (!read) return;
  write_and_read_text(endpoint.address);

  sockaddr_storage written{};
  const socklen_t written_length = write_sockaddr(endpoint.address, endpoint, written);
  if (is_ipv4) {
    std::memset(ipv4.sin_zero, 0, sizeof ipv4.sin_zero);
    require(written_length == sizeof ipv4 && std::memcmp(&written, &ipv4, sizeof ipv4) == 0);
    require(endpoint.address == address_from_ipv4(&ipv4.sin_addr));
  } else {
    if (!has_scope(ipv6.sin6_addr)) ipv6.sin6_scope_id = 0;
    require(written_length == sizeof ipv6 && std::memcmp(&written, &ipv6, sizeof ipv6) == 0);
    require(endpoint.address == address_from_ipv6(&ipv6.sin6_addr, ipv6.sin6_scope_id));
  }
  Endpoint again;
  require(read_sockaddr(reinterpret_cast<sockaddr*>(&written), written_length, again));
  require(again == endpoint);

  // The same address for a socket of the other family, which cannot express all.
  Endpoint other = endpoint;
  other.family = is_ipv4 ? AF_INET6 : AF_INET;
  const socklen_t other_length = write_sockaddr(endpoint.address, other, written);
  require((other_length != 0) == (is_ipv4 || endpoint.address.is_ipv4()));
  if (other_length == 0) return;
  require(read_sockaddr(reinterpret_cast<sockaddr*>(&written), other_length, again));
  require(again.address == endpoint.address && again.port == endpoint.port);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<char> bytes(data, data + size);
  read_text(bytes);
  // A list has each address once, in the order of the lines they stand on.
  Choices lines(data, size);
  std::vector<Address> once;
  AddressList list;
  while (!lines.ended()) {
    const auto address = address_by_libc(lines.line());
    if (!address) continue;
    require(list.contains(*address) ==
            (std::find(once.begin(), once.end(), *address) != once.end()));
    if (!list.contains(*address)) once.push_back(*address);
    require(list.add(*address));
  }
  require(list.size() == once.size());
  for (std::size_t i = 0; i < once.size(); ++i) require(list[i] == once[i]);
  read_sockaddr_of(bytes);
  return 0;
}
