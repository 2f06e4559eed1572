// Addresses as values: what a lookup returned and what connect() was asked for, in one comparable
// form. Pure: no system calls, no allocation, nothing that depends on time or process state.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nextaddr {

// The longest destination address list that is remembered for one host.
inline constexpr std::size_t kMaxAddresses = 1024;

// Room for "[ffff:...:255.255.255.255%4294967295]" and its terminator.
inline constexpr std::size_t kAddressTextSize = 64;

// An IP address without a port. IPv4 is held as v4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that
// an AF_INET6 request for ::ffff:a.b.c.d equals a remembered a.b.c.d.
struct Address {
  std::array<std::uint32_t, 4> words{};  // 16 bytes in network order
  std::uint32_t scope{};                 // sin6_scope_id; 0 unless link-local

  [[nodiscard]] bool is_ipv4() const;
  friend bool operator==(const Address&, const Address&) = default;
};

// One step of a hash of 64 bits, which stands for what it was made of: collisions are too rare to
// be met.
constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 32;
}
// Stands for an address where 64 bits are all that there is room for.
std::uint64_t long_hash_of(const Address& address);

// A hash for tables of addresses. Its low bits depend on all bits of the address, because the
// addresses of one network differ in their last byte only.
std::uint32_t hash_of(const Address& address);

// What a program asked connect() for.
struct Endpoint {
  Address address{};
  std::uint32_t flowinfo{};  // sin6_flowinfo, network order
  in_port_t port{};          // network order
  sa_family_t family{};      // family of the sockaddr, which the kernel demands to be the socket's
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Addresses in the resolver's order, each once. 20 KiB: never on a stack (lookup/borrowed_list.h).
class AddressList {
 public:
  AddressList() {}
  AddressList(const AddressList&) = delete;
  AddressList& operator=(const AddressList&) = delete;

  // Appends unless present. False when the list is full; the list is then a valid prefix.
  bool add(const Address& address);
  [[nodiscard]] bool contains(const Address& address) const;
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const Address& operator[](std::size_t index) const { return items_[index]; }

 private:
  static constexpr std::size_t kSeenBits = 8192;

  [[nodiscard]] bool contains(const Address& address, std::uint32_t bit) const;

  std::size_t size_{};
  // A bit for each hash that is present, so that the addresses of a long list need not each be
  // compared with all before it.
  std::array<std::uint64_t, kSeenBits / 64> seen_{};
  // Not initialised: most lookups have a handful.
  union {
    std::array<Address, kMaxAddresses> items_;
  };
};

// True for 0.0.0.0 and ::, which stand for all of a machine's own addresses.
bool is_unspecified(const Address& address);

// True for an IPv6 link-local address (RFC 4291 section 2.5.6), which is good for one device only.
bool is_link_local(const Address& address);

// Reads an AF_INET or AF_INET6 sockaddr of `length` bytes. False for any other family or a length
// the kernel would refuse. `address` must be readable for `length` bytes.
bool read_sockaddr(const sockaddr* address, socklen_t length, Endpoint& out);

// Writes `address` with the port, flow and family of `like`; returns the length, or 0 when an
// AF_INET socket cannot express it (it is IPv6).
socklen_t write_sockaddr(const Address& address, const Endpoint& like, sockaddr_storage& out);

// IPv4 from the four bytes of an in_addr, IPv6 from the sixteen of an in6_addr.
Address address_from_ipv4(const void* four_bytes);
Address address_from_ipv6(const void* sixteen_bytes, std::uint32_t scope);

// "192.0.2.1", "2001:db8::1" or "[2001:db8::1]", nothing else. False leaves `out` alone.
bool parse_address(std::string_view text, Address& out);

// What a text that is looked up is at first sight: a name; a number, or at least no name, as it has
// only digits and dots; or what only is_numeric() can tell ("cafe", "::1").
enum class Look : std::uint8_t { kName, kNumber, kEither };
Look look_at(const char* text);

// True when getaddrinfo(3) takes this for an address and not for a name: inet_aton(3)'s "10.1" and
// "0x7f000001" too, but not the container "3fa85f641234"; IPv6 also with a "%device".
bool is_numeric(std::string_view text);

// True when the first `prefix` of the 128 bits are the same: IPv4 networks have theirs behind the
// 96 of v4-mapped addresses.
bool in_network(const Address& address, const Address& network, std::size_t prefix);

// Writes the address as text (IPv6 in brackets) and returns its length.
std::size_t format_address(const Address& address, char (&out)[kAddressTextSize]);

}  // namespace nextaddr
