// What the small programs of the integration tests share: arguments, the clock, addresses, and one
// line of output for each result.
//
// Must never hide an error or retry anything itself: what a test did not ask for ends the program
// with status 3. Arguments are KEY=VALUE; results are printed as KEY=VALUE, errors by their names.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace check {

[[noreturn]] inline void broken(const char* what) {
  fprintf(stderr, "%s: broken: %s (%s)\n", program_invocation_short_name, what, strerror(errno));
  _exit(3);
}

inline int must(int result, const char* what) {
  if (result < 0) broken(what);
  return result;
}

inline void require(bool holds, const char* what) {
  if (!holds) broken(what);
}

inline long now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

inline void sleep_ms(long ms) {
  timespec left{ms / 1000, ms % 1000 * 1'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

inline const char* error_name(int error) {
  const char* name = error == 0 ? "0" : strerrorname_np(error);
  return name != nullptr ? name : "unknown";
}

class Arguments {
 public:
  Arguments(int count, char** values) : values_(values + 1, values + count) {}

  std::string text(const char* key, const char* fallback = "") const {
    const std::string prefix = std::string(key) + "=";
    for (const std::string& value : values_) {
      if (value.compare(0, prefix.size(), prefix) == 0) return value.substr(prefix.size());
    }
    return fallback;
  }

  int number(const char* key, int fallback = 0) const {
    const std::string value = text(key);
    return value.empty() ? fallback : atoi(value.c_str());
  }

  // The parts of a comma-separated value.
  std::vector<std::string> list(const char* key) const {
    std::vector<std::string> parts;
    std::string rest = text(key);
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      parts.push_back(rest.substr(0, comma));
      rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    }
    return parts;
  }

 private:
  std::vector<std::string> values_;
};

struct Destination {
  sockaddr_storage address{};
  socklen_t length = 0;

  int family() const { return address.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

inline Destination destination_of(const addrinfo& entry) {
  Destination result;
  memcpy(&result.address, entry.ai_addr, entry.ai_addrlen);
  result.length = entry.ai_addrlen;
  return result;
}

// From address bytes, as gethostbyname(3) gives them.
inline Destination destination_of(int family, const void* bytes, int port) {
  Destination result;
  if (family == AF_INET) {
    auto* ipv4 = reinterpret_cast<sockaddr_in*>(&result.address);
    ipv4->sin_port = htons(static_cast<uint16_t>(port));
    memcpy(&ipv4->sin_addr, bytes, sizeof ipv4->sin_addr);
    result.length = sizeof *ipv4;
  } else {
    auto* ipv6 = reinterpret_cast<sockaddr_in6*>(&result.address);
    ipv6->sin6_port = htons(static_cast<uint16_t>(port));
    memcpy(&ipv6->sin6_addr, bytes, sizeof ipv6->sin6_addr);
    result.length = sizeof *ipv6;
  }
  result.address.ss_family = static_cast<sa_family_t>(family);
  return result;
}

// A numeric address, without any lookup.
inline Destination destination_of(const std::string& text, int port) {
  in6_addr bytes;
  const int family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
  require(inet_pton(family, text.c_str(), &bytes) == 1, "not an address");
  return destination_of(family, &bytes, port);
}

inline std::string text_of(const Destination& destination) {
  char text[INET6_ADDRSTRLEN] = "none";
  if (destination.family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(destination.get())->sin_addr, text,
              sizeof text);
  } else if (destination.family() == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(destination.get())->sin6_addr, text,
              sizeof text);
  }
  return text;
}

inline int port_of(const Destination& destination) {
  // At the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(destination.get())->sin_port);
}

inline std::string peer_of(int fd) {
  Destination peer;
  peer.length = sizeof peer.address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer.address), &peer.length) != 0) return "none";
  return text_of(peer);
}

inline Destination local_of(int fd) {
  Destination local;
  local.length = sizeof local.address;
  must(getsockname(fd, reinterpret_cast<sockaddr*>(&local.address), &local.length), "getsockname");
  return local;
}

// Every address of the host, by getaddrinfo.
inline std::vector<Destination> look_up(const std::string& host, int port, int family = AF_UNSPEC,
                                        int flags = 0) {
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* result = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &result);
  if (error != 0) broken(gai_strerror(error));
  std::vector<Destination> all;
  for (addrinfo* entry = result; entry != nullptr; entry = entry->ai_next) {
    all.push_back(destination_of(*entry));
  }
  freeaddrinfo(result);
  return all;
}

inline int tcp_socket(int family, int protocol = 0) {
  return must(socket(family, SOCK_STREAM, protocol), "socket");
}

template <typename Value>
void set_option(int fd, int level, int name, const Value& value) {
  must(setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

template <typename Value>
Value get_option(int fd, int level, int name) {
  Value value{};
  socklen_t length = sizeof value;
  must(getsockopt(fd, level, name, &value, &length), "getsockopt");
  return value;
}

inline void set_send_timeout(int fd, int ms) {
  set_option(fd, SOL_SOCKET, SO_SNDTIMEO, timeval{ms / 1000, ms % 1000 * 1000});
}

// Returns 0 where the kernel, or what emulates it, does not tell.
inline std::uint64_t cookie_of(int fd) {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

inline int send_timeout_ms(int fd) {
  const auto value = get_option<timeval>(fd, SOL_SOCKET, SO_SNDTIMEO);
  return static_cast<int>(value.tv_sec * 1000 + value.tv_usec / 1000);
}

inline const char* tcp_state_of(int fd) {
  switch (get_option<tcp_info>(fd, IPPROTO_TCP, TCP_INFO).tcpi_state) {
    case TCP_ESTABLISHED:
      return "ESTABLISHED";
    case TCP_SYN_SENT:
      return "SYN_SENT";
    case TCP_CLOSE:
      return "CLOSE";
    default:
      return "other";
  }
}

struct Outcome {
  int result;
  int error;  // errno afterwards; 0 when a success left it alone
  long ms;
};

inline Outcome timed_connect(int fd, const Destination& to) {
  const long start = now_ms();
  // A value that connect(2) never sets, so that a success that disturbs errno is seen.
  errno = ENOTUNIQ;
  const int result = connect(fd, to.get(), to.length);
  const int error = errno;
  return {result, result == 0 && error == ENOTUNIQ ? 0 : error, now_ms() - start};
}

inline void print(const Outcome& outcome) {
  printf("result=%d error=%s ms=%ld ", outcome.result, error_name(outcome.error), outcome.ms);
}

// One line about a connect of a socket that nobody needs afterwards.
inline void connect_and_close(int fd, const Destination& to) {
  print(timed_connect(fd, to));
  printf("peer=%s\n", peer_of(fd).c_str());
  fflush(stdout);
  close(fd);
}

// The live servers of the tests say one line, "nextaddr-live ADDRESS", and then echo.
inline std::string read_line(int fd) {
  std::string line;
  for (char c; line.size() < 200;) {
    pollfd readable{fd, POLLIN, 0};
    if (poll(&readable, 1, 5000) <= 0 || read(fd, &c, 1) != 1 || c == '\n') break;
    line += c;
  }
  return line;
}

// The address of the server that answered, once data has gone both ways; "none" on a socket that is
// not connected.
inline std::string transfer(int fd) {
  if (peer_of(fd) == "none") return "none";
  const std::string banner = read_line(fd);
  const std::string prefix = "nextaddr-live ";
  if (banner.compare(0, prefix.size(), prefix) != 0) return "silence";
  if (send(fd, "echo\n", 5, MSG_NOSIGNAL) != 5 || read_line(fd) != "echo") return "deaf";
  return banner.substr(prefix.size());
}

// The library's probe of an address that was left in silence, which goes on for a moment: a deaf
// socket with a high number that no program executed from here gets.
inline bool is_probe(int fd) {
  socklen_t filter = 0;
  int min_ttl = 0;
  socklen_t length = sizeof min_ttl;
  getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &filter);
  getsockopt(fd, IPPROTO_IP, IP_MINTTL, &min_ttl, &length);
  return fd >= 48 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 && (filter != 0 || min_ttl == 255);
}

inline int open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) broken("/proc/self/fd");
  int count = 0;
  while (const dirent* entry = readdir(directory)) {
    count += entry->d_name[0] != '.' && !is_probe(atoi(entry->d_name)) ? 1 : 0;
  }
  closedir(directory);
  return count - 1;  // without the one this listing needed
}

}  // namespace check
