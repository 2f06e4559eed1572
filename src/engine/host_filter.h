// Which hosts are failed over and which are left alone: the --only and --skip patterns.
// Pure; holds views, so the pattern text must outlive it.
#pragma once

#include <cstdint>
#include <string_view>

namespace nextaddr {

// Compares host names as DNS does: ASCII case-insensitively, one trailing dot ignored (RFC 4343,
// RFC 1034).
bool same_host(std::string_view a, std::string_view b);

// fnmatch-like: '*', '?' and '[a-z]' ('[!a-z]' negates); ASCII case-insensitive.
bool matches_glob(std::string_view pattern, std::string_view text);

// A glob for host names, in which one trailing dot does not count, as in the host.
bool matches_host(std::string_view pattern, std::string_view host);

class HostFilter {
 public:
  // Comma-separated globs, each with an optional ":port". An empty `only` means every host.
  constexpr HostFilter() = default;
  constexpr HostFilter(std::string_view only, std::string_view skip)
      : only_(only),
        skip_(skip),
        knows_ports_(only.find(':') != std::string_view::npos ||
                     skip.find(':') != std::string_view::npos) {}

  // True when some pattern may be about one port: a host is then not left alone, or failed over, on
  // all of them alike.
  [[nodiscard]] bool knows_ports() const { return knows_ports_; }

  // True when the host is left alone on this port (host order); port 0: on *every* port.
  [[nodiscard]] bool leaves_alone(std::string_view host, std::uint16_t port) const;

 private:
  std::string_view only_;
  std::string_view skip_;
  bool knows_ports_ = false;
};

}  // namespace nextaddr
