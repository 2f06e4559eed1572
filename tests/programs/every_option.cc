// Connects one socket for each option that can be set, with a value that is not the default, and
// one for none; then tells all that getsockopt(2) tells of each. Must never set an option that
// makes connect(2) mean something else (TCP_REPAIR, TCP_FASTOPEN_CONNECT ..).
//
// host= port=; live=ADDRESS, silent=ADDRESS,ADDRESS..: opened here, at that port;
// mode=blocking|nonblocking. A line "set=LEVEL:NAME=VALUE result=ERROR peer=ADDRESS
// LEVEL:NAME=VALUE .." for each socket, values in hexadecimal.
#include <algorithm>
#include <mutex>
#include <thread>

#include "events.h"

using namespace events;

namespace {

constexpr int kLevels[] = {SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6};
constexpr int kLastName = 130;

struct Option {
  int level, name;
  bool operator==(const Option&) const = default;
};

template <typename Value>
std::string bytes_of(const Value& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

struct Setting {
  Option option;
  std::string value;  // its bytes; empty: one more than the default, or 1
};

// What others would not accept, or would be like the default.
const Setting kSettings[] = {
    {{SOL_SOCKET, SO_LINGER}, bytes_of(linger{1, 3})},
    {{SOL_SOCKET, SO_RCVTIMEO}, bytes_of(timeval{9, 0})},
    {{SOL_SOCKET, SO_SNDTIMEO}, bytes_of(timeval{9, 0})},
    {{SOL_SOCKET, SO_SNDBUF}, bytes_of(50'000)},
    {{SOL_SOCKET, SO_RCVBUF}, bytes_of(50'000)},
    {{SOL_SOCKET, SO_BINDTODEVICE}, "lo"},
    {{SOL_SOCKET, SO_MAX_PACING_RATE}, bytes_of(std::uint64_t{123'456'789})},
    {{IPPROTO_TCP, TCP_MAXSEG}, bytes_of(988)},
    {{IPPROTO_TCP, TCP_WINDOW_CLAMP}, bytes_of(5000)},
    {{IPPROTO_TCP, TCP_CONGESTION}, "reno"},
    {{IPPROTO_TCP, TCP_USER_TIMEOUT}, bytes_of(60'000)},
    {{IPPROTO_TCP, TCP_NOTSENT_LOWAT}, bytes_of(16'384)},
    {{IPPROTO_TCP, TCP_LINGER2}, bytes_of(20)},
    {{IPPROTO_IP, IP_TOS}, bytes_of(0x10)},
    {{IPPROTO_IP, IP_TTL}, bytes_of(33)},
    {{IPPROTO_IP, IP_MINTTL}, bytes_of(1)},
    {{IPPROTO_IP, IP_OPTIONS}, std::string("\1\1\1\0", 4)},
    {{IPPROTO_IP, 51}, bytes_of(40'000 | 50'000 << 16)},  // IP_LOCAL_PORT_RANGE
    {{IPPROTO_IPV6, IPV6_UNICAST_HOPS}, bytes_of(33)},
    {{IPPROTO_IPV6, IPV6_TCLASS}, bytes_of(0x20)},
};

// With these there is no connect, or another kind of it; or it is no setting.
bool is_left_alone(const Option& option) {
  static constexpr Option kLeft[] = {
      {IPPROTO_TCP, TCP_REPAIR},           {IPPROTO_TCP, TCP_REPAIR_QUEUE},
      {IPPROTO_TCP, TCP_QUEUE_SEQ},        {IPPROTO_TCP, TCP_REPAIR_OPTIONS},
      {IPPROTO_TCP, TCP_FASTOPEN_CONNECT}, {IPPROTO_TCP, TCP_ULP},
      {IPPROTO_TCP, TCP_FASTOPEN_KEY},     {SOL_SOCKET, SO_ATTACH_FILTER},
      {IPPROTO_IPV6, IPV6_ADDRFORM},       {SOL_SOCKET, SO_ERROR},
  };
  return std::find(std::begin(kLeft), std::end(kLeft), option) != std::end(kLeft);
}

// Its bytes, or "none" where there is no such option.
std::string value_of(int fd, const Option& option) {
  char value[256] = {};
  socklen_t length = sizeof value;
  if (getsockopt(fd, option.level, option.name, value, &length) != 0) return "none";
  return std::string(value, std::min<std::size_t>(length, sizeof value));
}

std::string hexadecimal(const std::string& bytes) {
  std::string text;
  char digits[3];
  for (const char byte : bytes) {
    snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  return text;
}

std::string value_to_set(int fd, const Option& option) {
  for (const Setting& setting : kSettings) {
    if (setting.option == option) return setting.value;
  }
  const std::string present = value_of(fd, option);
  int number = 0;
  if (present.size() != sizeof number) return "";
  memcpy(&number, present.data(), sizeof number);
  return bytes_of(number + 1);
}

bool set(int fd, const Option& option, const std::string& value) {
  return setsockopt(fd, option.level, option.name, value.data(),
                    static_cast<socklen_t>(value.size())) == 0;
}

// Those that keep what they are set to, with what that is.
std::vector<Setting> settings_of(int family) {
  std::vector<Setting> all{{{0, -1}, ""}};
  for (const int level : kLevels) {
    for (int name = 0; name <= kLastName; ++name) {
      const Option option{level, name};
      if (is_left_alone(option)) continue;
      const int fd = tcp_socket(family);
      const std::string before = value_of(fd, option);
      const std::string value = before == "none" ? "" : value_to_set(fd, option);
      if (!value.empty() && set(fd, option, value) && value_of(fd, option) != before)
        all.push_back({option, value});
      close(fd);
    }
  }
  return all;
}

void open_live(const Destination& at) {
  const int fd = tcp_socket(at.family());
  must(bind(fd, at.get(), at.length), "bind");
  must(listen(fd, 4096), "listen");
}

void open_silent(const Destination& at) {
  const int fd = tcp_socket(at.family());
  must(bind(fd, at.get(), at.length), "bind");
  must(listen(fd, 0), "listen");
  for (int i = 0; i < 2; ++i) {
    const int filler = must(socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    connect(filler, at.get(), at.length);
  }
}

// What getsockopt(2) tells after a connect with this setting.
std::string told_after(const Destination& to, const Setting& setting, bool blocks) {
  const int fd = must(socket(to.family(), SOCK_STREAM | (blocks ? 0 : SOCK_NONBLOCK), 0), "socket");
  if (setting.option.name >= 0) require(set(fd, setting.option, setting.value), "setsockopt");
  int error = timed_connect(fd, to).error;
  if (!blocks && error == EINPROGRESS) {
    pollfd writable{fd, POLLOUT, 0};
    must(poll(&writable, 1, 8000), "poll");
    error = get_option<int>(fd, SOL_SOCKET, SO_ERROR);
  }
  std::string text = "set=" + std::to_string(setting.option.level) + ":" +
                     std::to_string(setting.option.name) + ":" + hexadecimal(setting.value) +
                     " result=" + error_name(error) + " peer=" + peer_of(fd);
  for (const int level : kLevels) {
    for (int name = 0; name <= kLastName; ++name) {
      const Option option{level, name};
      const std::string value = value_of(fd, option);
      if (value == "none") continue;
      text += " " + std::to_string(level) + ":" + std::to_string(name) + "=" + hexadecimal(value);
    }
  }
  text += " flags=" + std::to_string(fcntl(fd, F_GETFL));
  close(fd);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  open_live(destination_of(arguments.text("live"), port));
  for (const std::string& each : arguments.list("silent")) open_silent(destination_of(each, port));
  const Destination to = look_up(arguments.text("host"), port).front();
  const bool blocks = arguments.text("mode") == "blocking";
  std::mutex printing;
  std::vector<std::thread> threads;
  for (const Setting& setting : settings_of(to.family())) {
    threads.emplace_back([&, setting] {
      const std::string told = told_after(to, setting, blocks);
      const std::lock_guard lock(printing);
      puts(told.c_str());
    });
  }
  for (std::thread& thread : threads) thread.join();
}
