// Built for speed: every connect and lookup comes by.
#include "engine/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "engine/text.h"

namespace nextaddr {
namespace {

// The kernel takes an in6 sockaddr without sin6_scope_id (SIN6_LEN_RFC2133 in net/ipv6/af_inet6.c).
constexpr socklen_t kSockaddrIn6WithoutScope = 24;

}  // namespace

bool Address::is_ipv4() const {
  return words[0] == 0 && words[1] == 0 && words[2] == htonl(0xffff);
}

std::uint64_t long_hash_of(const Address& address) {
  std::uint64_t hash = address.scope;
  for (const std::uint32_t word : address.words) hash = mix(hash, word);
  return hash;
}

bool is_unspecified(const Address& address) {
  return address.is_ipv4() ? address.words[3] == 0 : address == Address{};
}

std::uint32_t hash_of(const Address& address) {
  const auto& words = address.words;
  std::uint32_t hash = words[0] * 0x9e3779b1u ^ words[1] * 0x85ebca77u ^ words[2] * 0xc2b2ae3du ^
                       words[3] * 0x27d4eb2fu ^ address.scope;
  // The finalizer of MurmurHash3.
  hash = (hash ^ hash >> 16) * 0x85ebca6bu;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
  return hash ^ hash >> 16;
}

bool AddressList::contains(const Address& address) const {
  return contains(address, hash_of(address) % kSeenBits);
}

bool AddressList::contains(const Address& address, std::uint32_t bit) const {
  if ((seen_[bit / 64] >> (bit % 64) & 1) == 0) return false;
  for (std::size_t i = 0; i < size_; ++i) {
    if (items_[i] == address) return true;
  }
  return false;
}

bool AddressList::add(const Address& address) {
  // getaddrinfo repeats each address once per socket type: the neighbour is the likely twin.
  if (size_ != 0 && items_[size_ - 1] == address) return true;
  const std::uint32_t bit = hash_of(address) % kSeenBits;
  if (contains(address, bit)) return true;
  if (size_ == items_.size()) return false;
  seen_[bit / 64] |= std::uint64_t{1} << (bit % 64);
  items_[size_++] = address;
  return true;
}

Address address_from_ipv4(const void* four_bytes) {
  Address result;
  result.words[2] = htonl(0xffff);
  std::memcpy(&result.words[3], four_bytes, 4);
  return result;
}

Address address_from_ipv6(const void* sixteen_bytes, std::uint32_t scope) {
  Address result;
  std::memcpy(result.words.data(), sixteen_bytes, 16);
  result.scope = scope;
  return result;
}

bool is_link_local(const Address& address) {
  return (ntohl(address.words[0]) & 0xffc0'0000) == 0xfe80'0000;
}

bool read_sockaddr(const sockaddr* address, socklen_t length, Endpoint& out) {
  if (length < sizeof(sockaddr_in) || length > sizeof(sockaddr_storage)) return false;
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    out = {address_from_ipv4(&in.sin_addr), 0, in.sin_port, AF_INET};
    return true;
  }
  if (address->sa_family == AF_INET6 && length >= kSockaddrIn6WithoutScope) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, length < sizeof in ? length : sizeof in);
    // The kernel looks at the scope of no other address, and some programs leave it uninitialized.
    const std::uint32_t scope = IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr) ? in.sin6_scope_id : 0;
    out = {address_from_ipv6(&in.sin6_addr, scope), in.sin6_flowinfo, in.sin6_port, AF_INET6};
    return true;
  }
  return false;
}

socklen_t write_sockaddr(const Address& address, const Endpoint& like, sockaddr_storage& out) {
  if (like.family == AF_INET) {
    if (!address.is_ipv4()) return 0;
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = like.port;
    in.sin_addr.s_addr = address.words[3];
    std::memcpy(&out, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = like.port;
  in.sin6_flowinfo = like.flowinfo;
  in.sin6_scope_id = address.scope;
  std::memcpy(&in.sin6_addr, address.words.data(), sizeof in.sin6_addr);
  std::memcpy(&out, &in, sizeof in);
  return sizeof in;
}

bool parse_address(std::string_view text, Address& out) {
  const bool bracketed = text.size() >= 2 && text.front() == '[' && text.back() == ']';
  if (bracketed) text = slice(text, 1, text.size() - 1);
  char terminated[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof terminated) return false;
  // inet_pton(3) would not see what follows.
  if (text.find('\0') != std::string_view::npos) return false;
  std::memcpy(terminated, text.data(), text.size());
  terminated[text.size()] = '\0';
  in_addr ipv4{};
  if (!bracketed && inet_pton(AF_INET, terminated, &ipv4) == 1) {
    out = address_from_ipv4(&ipv4);
    return true;
  }
  in6_addr ipv6{};
  if (inet_pton(AF_INET6, terminated, &ipv6) == 1) {
    out = address_from_ipv6(&ipv6, 0);
    return true;
  }
  return false;
}

namespace {

// One number of inet_aton(3), decimal, octal (0..) or hexadecimal (0x..), up to 32 bits.
bool parse_part(std::string_view text, std::uint64_t& out) {
  std::uint64_t base = 10;
  if (text.size() > 1 && text.front() == '0') {
    base = lower_case(text[1]) == 'x' ? 16 : 8;
    text.remove_prefix(base == 16 ? 2 : 1);
  }
  out = 0;
  for (const char c : text) {
    const char digit = lower_case(c);
    const auto value = static_cast<std::uint64_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    if (digit < '0' || (digit > '9' && digit < 'a') || value >= base) return false;
    out = out * base + value;
    if (out > 0xffff'ffff) return false;
  }
  return !text.empty();
}

bool is_ipv4_text(std::string_view text) {
  // Up to four numbers, of which the last one fills what the others leave.
  std::uint64_t highest = 0xffff'ffff;
  for (int parts = 1; parts <= 4; ++parts) {
    const bool is_last = text.find('.') == std::string_view::npos;
    std::uint64_t value = 0;
    if (!parse_part(take_until(text, '.'), value) || value > (is_last ? highest : 0xff)) {
      return false;
    }
    if (is_last) return true;
    highest >>= 8;
  }
  return false;
}

}  // namespace

Look look_at(const char* text) {
  bool has_letter = false;
  for (; *text != '\0'; ++text) {
    if (*text == ':') return Look::kEither;
    if ((*text >= '0' && *text <= '9') || *text == '.') continue;
    const char letter = lower_case(*text);
    if ((letter < 'a' || letter > 'f') && letter != 'x') return Look::kName;
    has_letter = true;
  }
  return has_letter ? Look::kEither : Look::kNumber;
}

bool is_numeric(std::string_view text) {
  if (text.find(':') == std::string_view::npos) return is_ipv4_text(text);
  Address unused;
  return text.front() != '[' && parse_address(take_until(text, '%'), unused);
}

bool in_network(const Address& address, const Address& network, std::size_t prefix) {
  for (std::size_t i = 0; i < address.words.size() && i * 32 < prefix; ++i) {
    const std::size_t bits = std::min<std::size_t>(prefix - i * 32, 32);
    const std::uint32_t mask = ~std::uint32_t{0} << (32 - bits);
    if (((ntohl(address.words[i]) ^ ntohl(network.words[i])) & mask) != 0) return false;
  }
  return true;
}

std::size_t format_address(const Address& address, char (&out)[kAddressTextSize]) {
  if (address.is_ipv4()) {
    inet_ntop(AF_INET, &address.words[3], out, sizeof out);
    return std::strlen(out);
  }
  out[0] = '[';
  inet_ntop(AF_INET6, address.words.data(), out + 1, sizeof out - 1);
  std::size_t length = std::strlen(out);
  if (address.scope != 0) {
    out[length++] = '%';
    NumberText buffer;
    for (const char digit : format_number(address.scope, buffer)) out[length++] = digit;
  }
  out[length++] = ']';
  out[length] = '\0';
  return length;
}

}  // namespace nextaddr
