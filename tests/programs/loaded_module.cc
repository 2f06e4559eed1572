// Looks a host up, and lets a module that it has loaded connect to its first address and wait.
// Must never connect itself.
//
// host= port= module=PATH; flags=now+local+.. as of dlopen(3); again=1 (once more, after
// dlclose(3)); nonblocking=1.
#include "dlopen_flags.h"
#include "events.h"

using namespace events;

int main(int argc, char** argv) {
  limit_time();
  const Arguments arguments(argc, argv);
  const std::string path = arguments.text("module");
  const int flags = dlopen_flags(arguments.text("flags"));
  void* module = dlopen(path.c_str(), flags);
  require(module != nullptr, "dlopen");
  if (arguments.number("again") != 0) {
    require(dlclose(module) == 0, "dlclose");
    require(dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD) == nullptr, "unloaded");
    module = dlopen(path.c_str(), flags);
    require(module != nullptr, "dlopen");
  }
  auto* connects = reinterpret_cast<decltype(&connect)>(dlsym(module, "connect_in_module"));
  auto* waits = reinterpret_cast<int (*)(int, int)>(dlsym(module, "wait_in_module"));
  require(connects != nullptr && waits != nullptr, "dlsym");

  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  const bool nonblocking = arguments.number("nonblocking") != 0;
  const int fd = nonblocking ? new_socket(to.family()) : tcp_socket(to.family());
  const int result = connects(fd, to.get(), to.length);
  printf("connect=%s", result == 0 ? "0" : error_name(errno));
  if (nonblocking) {
    printf(" events=%s", event_names(static_cast<std::uint16_t>(waits(fd, 5000))).c_str());
  }
  printf(" peer=%s\n", peer_of(fd).c_str());
}
