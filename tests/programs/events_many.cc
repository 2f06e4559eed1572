// Has very many connects in flight at once, in several threads that each wait for their own.
// Must never look at a socket before an event has come for it. The live servers are
// processes of their own, which accept, and close nothing before the end: that would be one more
// event.
//
// hosts=HOST,HOST.. in turn, port=; live=ADDRESS to serve at, at the same port; count=N in all;
// threads=N; how=poll|epoll.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "events.h"

using namespace events;

namespace {

std::atomic<int> connected{0}, wrong{0}, failed{0};

void raise_descriptor_limit(int needed) {
  rlimit limit;
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  require(limit.rlim_max >= static_cast<rlim_t>(needed), "descriptors");
  limit.rlim_cur = limit.rlim_max;
  must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

// Processes of their own, because all together need too many descriptors for one; and several
// listeners, because the kernel lets none have a queue of more than net.core.somaxconn: beyond it
// the server would be silent.
std::vector<pid_t> start_servers(const Destination& at) {
  constexpr int kServers = 4;
  std::vector<int> listeners;
  for (int i = 0; i < kServers; ++i) {
    const int listener = tcp_socket(at.family());
    set_option(listener, SOL_SOCKET, SO_REUSEPORT, 1);
    must(bind(listener, at.get(), at.length), "bind");
    must(listen(listener, 16384), "listen");
    listeners.push_back(listener);
  }
  std::vector<pid_t> servers;
  for (const int listener : listeners) {
    const pid_t server = must(fork(), "fork");
    if (server == 0) {
      must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
      for (;;) must(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept");
    }
    servers.push_back(server);
  }
  for (const int listener : listeners) close(listener);
  return servers;
}

void note(int fd, std::uint32_t events, const std::string& live) {
  if ((events & (POLLERR | POLLHUP)) != 0 || get_option<int>(fd, SOL_SOCKET, SO_ERROR) != 0) {
    ++failed;
  } else if (peer_of(fd) != live) {
    ++wrong;
  } else {
    ++connected;
  }
}

void wait_by_poll(const std::vector<int>& sockets, const std::string& live) {
  std::vector<pollfd> fds;
  for (const int fd : sockets) fds.push_back({fd, POLLOUT, 0});
  for (std::size_t left = fds.size(); left != 0;) {
    must(poll(fds.data(), fds.size(), -1), "poll");
    for (pollfd& each : fds) {
      if (each.fd < 0 || each.revents == 0) continue;
      note(each.fd, static_cast<std::uint16_t>(each.revents), live);
      each.fd = -1;
      --left;
    }
  }
}

void wait_by_epoll(const std::vector<int>& sockets, const std::string& live) {
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  for (const int fd : sockets) {
    // One shot, because edges may be told twice: once more when the kernel is about to wake for the
    // connection that an epoll_wait woken by something else has just seen.
    epoll_event event{EPOLLOUT | EPOLLONESHOT, {}};
    event.data.fd = fd;
    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }
  std::vector<bool> seen(65536);
  for (std::size_t left = sockets.size(); left != 0;) {
    epoll_event found[64];
    const int count = must(epoll_wait(set, found, 64, -1), "epoll_wait");
    for (int i = 0; i < count; ++i) {
      const auto fd = static_cast<std::size_t>(found[i].data.fd);
      require(fd < seen.size() && !seen[fd], "told twice, or of nobody");
      seen[fd] = true;
      note(found[i].data.fd, found[i].events, live);
      --left;
    }
  }
  close(set);
}

}  // namespace

int main(int argc, char** argv) {
  limit_time(55);
  const Arguments arguments(argc, argv);
  const int count = arguments.number("count");
  const int threads = arguments.number("threads", 1);
  const int port = arguments.number("port");
  const std::string live = arguments.text("live");
  raise_descriptor_limit(count + 200);
  std::vector<Destination> destinations;
  for (const std::string& host : arguments.list("hosts")) {
    destinations.push_back(look_up(host, port).front());
  }
  const int descriptors_before = open_descriptors();

  const std::vector<pid_t> servers = start_servers(destination_of(live, port));
  const long start = now_ms();
  std::vector<std::thread> clients;
  for (int i = 0; i < threads; ++i) {
    clients.emplace_back([&, i] {
      std::vector<int> sockets;
      for (int n = i; n < count; n += threads) {
        const Destination& to = destinations[static_cast<std::size_t>(n) % destinations.size()];
        const int fd =
            must(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
        // Leaves no TIME_WAIT behind.
        set_option(fd, SOL_SOCKET, SO_LINGER, linger{1, 0});
        begin_connect(fd, to);
        sockets.push_back(fd);
      }
      if (arguments.text("how") == "poll") {
        wait_by_poll(sockets, live);
      } else {
        wait_by_epoll(sockets, live);
      }
      for (const int fd : sockets) close(fd);
    });
  }
  for (std::thread& each : clients) each.join();
  const long ms = now_ms() - start;
  for (const pid_t server : servers) {
    must(kill(server, SIGKILL), "kill");
    must(waitpid(server, nullptr, 0), "waitpid");
  }
  printf("connected=%d wrong=%d failed=%d ms=%ld descriptors_left=%d\n", connected.load(),
         wrong.load(), failed.load(), ms, open_descriptors() - descriptors_before);
}
